"""What every strategy here draws with: shares, and names that are awkward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Names = Iterator[str]
LONG = "a_name_as_long_as_postgres_allows_it_so_that_nothing_more_fits"  # and one letter more are 63 bytes
NAMES = (
    "Mixed Case",
    'we"ird',
    "100%",
    "select",
    "ünïcode",
    f"{LONG}1",
    f"{LONG}2",
    "new",
    "old",
    "key",
    "origin",
    "row",
    "value",
    "tenant",
    "it's",
    "a.b",
    "$1",
    "{x}",
    "limit",
    "v",
    "s",
    "t",
    "id",
    "number",
    "state",
    "p1",
    "p2",
    "p3",
    "p4",
)


def chance(draw: Draw, share: float) -> bool:
    """Draw whether something is there."""
    return bool(draw(st.integers(1, 100)) > 100 - share * 100)


def one(draw: Draw, *choices: Any) -> Any:
    """Draw one of these."""
    return draw(st.sampled_from(choices))
