"""The size of chunks follows the target time, never by leaps, never out of bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.chunks import ChunkSize, Done
from rollout.engine.chunksize import FIRST_LIMIT, GROWTH, LARGEST_LIMIT, SHRINK, SMALLEST_LIMIT


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [(0.05, FIRST_LIMIT), (0.1, FIRST_LIMIT // 2), (60.0, int(FIRST_LIMIT * SHRINK)), (0.04, int(FIRST_LIMIT * GROWTH)),
     (0.0, FIRST_LIMIT * 2)],
)  # fmt: skip
def test_one_chunk(seconds: float, limit: int) -> None:
    """On target it stays; otherwise it moves in proportion, down to a quarter, up to the double at first, less later."""
    size = ChunkSize(50)
    size.took(seconds)
    assert size.limit == limit


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_bounds_hold_whatever_happens(times: list[float]) -> None:
    """No sequence of times leads out of the bounds, and no step is larger than allowed."""
    size = ChunkSize(50)
    for seconds in times:
        before = size.limit
        size.took(seconds)
        assert SMALLEST_LIMIT <= size.limit <= LARGEST_LIMIT
        assert int(before * SHRINK) <= size.limit <= max(before * 2, before + 1)


@pytest.mark.parametrize("rows_per_second", [20, 2_000, 20_000, 200_000])
def test_it_settles_on_the_target(rows_per_second: int) -> None:
    """A steady speed leads to chunks of the target time within twenty chunks, and to none of twice as long but the first."""
    size = ChunkSize(50)
    for number in range(20):
        assert number < 3 or size.limit / rows_per_second <= 0.1
        size.took(size.limit / rows_per_second)
    assert size.limit / rows_per_second == pytest.approx(0.05, rel=0.05)


def test_it_recovers_from_a_row_at_a_time() -> None:
    """After rows of megabytes, or clients in the way, it grows again, be it from one row."""
    size = ChunkSize(50)
    for _ in range(10):
        size.took(60.0)
    assert size.limit == SMALLEST_LIMIT
    for _ in range(45):
        size.took(size.limit / 20_000)
    assert size.limit == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("spread", [1.5, 2.0, 3.0])
def test_chunks_seldom_overshoot_where_rows_differ(spread: float) -> None:
    """Stretches of dear and of cheap rows, changing every hundred chunks: only where they turn dear may a chunk be too long."""
    chance, size, over = random.Random(7), ChunkSize(50), 0
    for number in range(2_000):
        cost = 1 / 20_000 * (spread if number // 100 % 2 else 1) * chance.uniform(0.8, 1.25)
        seconds = 0.002 + size.limit * cost
        over += seconds > 0.1
        size.took(seconds)
    assert over <= 20  # ten turns


def test_a_call_that_had_nothing_to_do_has_no_rate() -> None:
    """A finished copy reports no rate instead of a division by zero; a pause is not counted against the rate."""
    assert Done("copy_1_jobs", 0, 0, 0.0, 0.0).to_dict()["rows_per_s"] is None
    assert Done("copy_1_jobs", 500, 1, 0.5, 500.0).to_dict()["rows_per_s"] == 1000
    assert Done("copy_1_jobs", 500, 1, 1.5, 500.0, 0, {"paused_seconds": 1.0}).to_dict()["rows_per_s"] == 1000
