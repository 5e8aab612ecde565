"""What a comment documents, how it becomes SQL, and what the validator decides without any server."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from rollout.errors import Failed
from rollout.references.documented import expression, parse
from rollout.references.validator import Outcome, Validator

A, T = str(uuid.uuid4()), str(uuid.uuid4())


class Away:
    """A Redis of which every command fails, and an oltp that cannot be reached."""

    def register_script(self, script: str) -> Any:
        """Accept the script; it is never run."""
        return None

    async def mget(self, keys: list[str]) -> list[Any]:
        """Fail as a server does that is down."""
        raise OSError("down")

    def connect(self) -> Any:
        """Fail as a server does that is down."""
        raise OSError("down")


def test_line_is_understood_whole() -> None:
    """A line with a JSON source and a scope gives all parts."""
    found = parse(
        "public", "jobs", "payload",
        "references oltp.campaigns(id) from payload->>'campaign_id' within payload->>'tenant_id' = tenant_id;"
        " validated by rollout.references",
    )  # fmt: skip
    assert (found.table, found.column, found.source, found.scope, found.referent_scope) == (
        "campaigns", "id", "payload->>'campaign_id'", "payload->>'tenant_id'", "tenant_id",
    )  # fmt: skip
    assert found.referent == "oltp.campaigns(id)"


@pytest.mark.parametrize("line", ["references oltp.campaigns", "references oltp.c(id) from a; DROP TABLE x", ""])
def test_unreadable_line_fails_closed(line: str) -> None:
    """A comment that only looks like a reference stops the scan instead of being skipped."""
    with pytest.raises(Failed):
        parse("public", "t", "c", line)


def test_sources_are_quoted() -> None:
    """A column is an identifier and a key is a literal."""
    assert expression("odd").as_string(None) == '"odd"'
    assert expression("payload->>'a'").as_string(None) == "(\"payload\" ->> 'a')"


def test_everything_away_is_unknown_and_malformed_is_invalid() -> None:
    """With Redis and oltp away a well-formed reference is unknown, and what is no UUID is invalid without asking."""
    validator = Validator(Away().connect, Away())  # type: ignore[arg-type]
    outcomes = asyncio.run(validator.check_many([("campaign", A, T), ("lead", "x", T)]))
    assert list(outcomes.values()) == [Outcome.UNKNOWN, Outcome.INVALID]


def test_unknown_kind_is_an_error() -> None:
    """A kind that nothing announces must not be cached by mistake."""
    with pytest.raises(ValueError, match="unknown kind"):
        asyncio.run(Validator(Away().connect, Away()).check("tenant", A, T))  # type: ignore[arg-type]
