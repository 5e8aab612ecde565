"""The size of chunks follows the target time, never by leaps, never out of bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.chunks import FIRST_LIMIT, LARGEST_LIMIT, SMALLEST_LIMIT, ChunkSize, Done


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [(0.05, FIRST_LIMIT), (0.1, FIRST_LIMIT // 2), (60.0, FIRST_LIMIT // 2), (0.04, 625), (0.0, FIRST_LIMIT * 2)],
)
def test_one_chunk(seconds: float, limit: int) -> None:
    """On target it stays; otherwise it moves in proportion, at most by half or double."""
    size = ChunkSize(50)
    size.took(seconds)
    assert size.limit == limit


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_bounds_hold_whatever_happens(times: list[float]) -> None:
    """No sequence of times leads out of the bounds, and no step is larger than a factor of two."""
    size = ChunkSize(50)
    for seconds in times:
        before = size.limit
        size.took(seconds)
        assert SMALLEST_LIMIT <= size.limit <= LARGEST_LIMIT
        assert before // 2 <= size.limit <= before * 2


@pytest.mark.parametrize("rows_per_second", [2_000, 20_000, 200_000])
def test_it_settles_on_the_target(rows_per_second: int) -> None:
    """A steady speed leads to chunks of the target time within twenty chunks."""
    size = ChunkSize(50)
    for _ in range(20):
        size.took(size.limit / rows_per_second)
    assert size.limit / rows_per_second == pytest.approx(0.05, rel=0.05)


def test_a_call_that_had_nothing_to_do_has_no_rate() -> None:
    """A finished copy reports no rate instead of a division by zero."""
    assert Done("copy_1_jobs", 0, 0, 0.0, 0.0).to_dict()["rows_per_s"] is None
    assert Done("copy_1_jobs", 500, 1, 0.5, 500.0).to_dict()["rows_per_s"] == 1000
