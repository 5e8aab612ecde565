"""Latencies by second, and windows over them."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from rollout.load.results import Series, window


def series(path: Path, seconds: dict[int, list[float]], failed: int = 0) -> None:
    """Write a series with the given latencies (in seconds of time) for each second."""
    with path.open("w") as stream:
        made = Series(stream)
        for second, latencies in seconds.items():
            for number, latency in enumerate(latencies):
                made.record(second + 0.5, latency, failed=number < failed)
        made.flush()


def test_a_window_merges_only_its_seconds(tmp_path: Path) -> None:
    """Seconds before the start and from the end on do not count."""
    series(tmp_path / "s", {100: [9.0], 101: [0.010] * 99, 102: [0.500], 103: [9.0]}, failed=1)
    found = window(tmp_path / "s", 101, 103)
    assert (found.count, found.failed, found.seconds) == (100, 2, 2)
    assert found.p50_ms == pytest.approx(10, rel=0.02)
    assert found.max_ms == pytest.approx(500, rel=0.02)


def test_percentiles_are_those_of_the_numbers(tmp_path: Path) -> None:
    """The merged p99 agrees with the exact one within two per cent."""
    rng = random.Random(1)
    numbers = [rng.lognormvariate(-4, 1) for _ in range(5000)]
    series(tmp_path / "s", {second: numbers[second::10] for second in range(10)})
    assert window(tmp_path / "s", 0, 10).p99_ms == pytest.approx(sorted(numbers)[4949] * 1000, rel=0.02)


def test_no_data_has_no_percentiles(tmp_path: Path) -> None:
    """An empty window has a count of zero and None for latencies, which no gate can mistake for fast."""
    series(tmp_path / "s", {100: [1.0]})
    found = window(tmp_path / "s", 200, 300)
    assert (found.count, found.p99_ms, found.max_ms) == (0, None, None)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """A line that is being written, or was cut off by a kill, does not spoil the rest."""
    series(tmp_path / "s", {100: [1.0]})
    with (tmp_path / "s").open("a") as stream:
        stream.write('{"second": 101, "cou')
    assert window(tmp_path / "s", 0, 1000).count == 1


def test_a_latency_beyond_the_range_is_kept_at_its_end() -> None:
    """Neither zero nor an hour is refused, so no request goes uncounted."""
    made = Series(io.StringIO())
    made.record(1.0, 0.0, failed=False)
    made.record(1.0, 3600.0, failed=True)
    made.flush()
    assert (made.count, made.failed) == (2, 1)
    assert made.percentiles()["max_ms"] == pytest.approx(120_000, rel=0.02)
