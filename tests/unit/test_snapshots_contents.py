"""Definitions in the form that survives a restore, and what a comparison of contents says."""

from __future__ import annotations

import pytest

from rollout.snapshots.contents import canonical
from rollout.snapshots.database import contents_differences
from rollout.snapshots.records import Comparison, Contents, SequenceRange, TableDigest

FIRST = "CHECK (((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))"
AGAIN = "CHECK (((status)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))"


def _contents(**changes: object) -> Contents:
    whole = {
        "tables": {"public.jobs": TableDigest(rows=2, sums=(5, 7))},
        "sequences": {"public.ids": SequenceRange(before=20, after=26, increment=1)},
        "objects": {"index public.i": "aa", "extension pgcrypto": "bb"},
    }
    return Contents.model_validate(whole | changes)


def test_check_constraint_prints_alike_after_a_restore() -> None:
    """The two ways in which Postgres prints one IN list have one canonical form, and another list has another."""
    assert canonical("constraint c on t", FIRST) == canonical("constraint c on t", AGAIN)
    assert canonical("constraint c on t", FIRST) != canonical("constraint c on t", FIRST.replace("'b'", "'c'"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CHECK ((a AND (b OR c)))", "CHECK (((a AND b) OR c))"),
        ("DEFAULT now()", "DEFAULT now"),
        ("CHECK ((lower(a) = b))", "CHECK ((lower = b))"),
        ("((a = 'x (y)'))", "((a = 'x y'))"),
    ],
)
def test_canonical_form_keeps_what_matters(one: str, other: str) -> None:
    """Grouping, calls and literals are not canonicalised away."""
    assert canonical("constraint c on t", one) != canonical("constraint c on t", other)


def test_function_bodies_are_taken_as_they_are() -> None:
    """A cast within a function's body is a difference."""
    assert canonical("routine f()", "select 'a'::text") == "select 'a'::text"


def test_equal_contents_have_no_differences() -> None:
    """A sequence anywhere between its two readings is equal."""
    moved = _contents(sequences={"public.ids": SequenceRange(before=24, after=24, increment=1)})
    assert contents_differences(_contents(), moved, ignored=set()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tables": {}}, "table public.jobs is missing"),
        ({"tables": {"public.jobs": TableDigest(rows=1, sums=(5, 7))}}, "table public.jobs has 1 rows, the snapshot 2"),
        ({"tables": {"public.jobs": TableDigest(rows=2, sums=(5, 8))}}, "not in content"),
        (
            {"sequences": {"public.ids": SequenceRange(before=28, after=28, increment=1)}},
            "sequence public.ids stands at 14",
        ),
        ({"objects": {"extension pgcrypto": "bb"}}, "index public.i is missing"),
        ({"objects": {"index public.i": "cc", "extension pgcrypto": "bb"}}, "index public.i is defined otherwise"),
    ],
)
def test_each_difference_is_named(changes: dict[str, object], said: str) -> None:
    """One thing changed is one sentence that names it."""
    (sentence,) = contents_differences(_contents(), _contents(**changes), ignored=set())
    assert said in sentence


def test_sequence_that_went_round_or_down() -> None:
    """A descending sequence and one that wrapped hold what lies on their way."""
    assert SequenceRange(before=10, after=4, increment=-1).holds(6)
    assert not SequenceRange(before=10, after=4, increment=-1).holds(12)
    assert SequenceRange(before=90, after=4, increment=1).holds(2)
    assert not SequenceRange(before=90, after=4, increment=1).holds(50)


def test_nothing_compared_is_not_equal() -> None:
    """An empty comparison is no proof."""
    empty = Comparison(host="h", tables=0, rows=0, differences_total=0, differences=[], seconds=0)
    assert not empty.equal
