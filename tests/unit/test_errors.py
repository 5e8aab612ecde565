"""What a person is told: observed, limit, next and page, and the exit code that goes with it."""

from __future__ import annotations

import json

import pytest

from rollout.errors import BadInput, Failed, Fenced, Refused, RolloutError


@pytest.mark.parametrize(
    ("kind", "word", "code"),
    [(BadInput, "refused", 2), (Refused, "refused", 1), (Failed, "failed", 1), (Fenced, "refused", 1)],
)
def test_word_and_exit_code(kind: type[RolloutError], word: str, code: int) -> None:
    """Only a request that cannot be understood exits with 2; a refusal is not called a failure."""
    error = kind("seen", next="do")
    assert (str(error), error.exit_code) == (f"{word}: seen\nnext: do", code)


def test_limit_and_page_are_shown_when_there_are_some() -> None:
    """The limit stands behind what was seen, the page behind what to do."""
    error = Refused("3 seen", limit="2", next="wait", page="runbooks/deploy.md")
    assert str(error) == "refused: 3 seen (limit: 2)\nnext: wait  see runbooks/deploy.md"


def test_errors_cross_a_process_boundary() -> None:
    """The JSON form names the kind and loses nothing."""
    told = json.loads(json.dumps(Fenced("seen", limit="l", next="n", page="p", verdict="inconclusive").to_dict()))
    assert told == {
        "kind": "Fenced", "exit_code": 1, "observed": "seen", "limit": "l", "next": "n", "page": "p",
        "verdict": "inconclusive",
    }  # fmt: skip
    assert Refused("inconclusive", next="").verdict == "fail"
