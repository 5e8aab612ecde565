"""Latencies in bounded memory: one HdrHistogram a second, written as a line of JSON that windows can be computed from.

A line: {"second": epoch seconds, "count", "failed", "p50_ms", "p99_ms", "max_ms", "histogram": base64 of microseconds}.
A request belongs to the second in which it ended; a second without any has no line. Failed requests count with
the time that they took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

LOWEST_US, HIGHEST_US, DIGITS = 1, 120_000_000, 2
PERCENTILES = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0))


@dataclass(frozen=True)
class Window:
    """What happened between two instants. Latencies in milliseconds; None when nothing ended there: no data is no
    pass.
    """

    start: float
    end: float
    seconds: int
    count: int
    failed: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the window as JSON-native values."""
        return asdict(self)


class Series:
    """Writes a line for every second, and keeps the histogram of the whole."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._second: int | None = None
        self._current = histogram()
        self._total = histogram()
        self._failed_now = 0
        self.count = 0
        self.failed = 0

    def record(self, ended: float, latency_seconds: float, *, failed: bool) -> None:
        """Count a request that ended at an epoch time, `latency_seconds` after its scheduled instant."""
        second = int(ended)
        if second != self._second:
            self.flush()
            self._second = second
        record(self._current, latency_seconds)
        self._failed_now += failed
        self.count += 1
        self.failed += failed

    def flush(self) -> None:
        """Write the second that is under way; call it at the end."""
        if self._second is None or self._current.get_total_count() == 0:
            return
        line = {"second": self._second, "count": self._current.get_total_count(), "failed": self._failed_now}
        percentiles = {f"{name}_ms": percentile_ms(self._current, p) for name, p in PERCENTILES if name != "p90"}
        histogram_text = self._current.encode().decode()
        self._stream.write(json.dumps({**line, **percentiles, "histogram": histogram_text}) + "\n")
        self._total.add(self._current)
        self._current.reset()
        self._failed_now = 0

    def percentiles(self) -> dict[str, float | None]:
        """Return the percentiles of everything flushed so far, in milliseconds."""
        return {f"{name}_ms": percentile_ms(self._total, p) for name, p in PERCENTILES}


def histogram() -> Any:
    """Return an empty histogram of microseconds, up to two minutes, within one per cent."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


def record(into: Any, latency_seconds: float) -> None:
    """Record a latency; what lies beyond the range is kept at its end."""
    into.record_value(min(max(LOWEST_US, round(latency_seconds * 1e6)), HIGHEST_US))


def window(path: str | Path, start: float, end: float) -> Window:
    """Merge the seconds of a series file that lie in [start, end) epoch seconds; a torn last line is left out."""
    merged, seconds, failed = histogram(), 0, 0
    for line in _lines(Path(path)):
        if int(start) <= line["second"] < end:
            merged.decode_and_add(line["histogram"])
            seconds += 1
            failed += line["failed"]
    return Window(
        start=start,
        end=end,
        seconds=seconds,
        count=merged.get_total_count(),
        failed=failed,
        **{f"{name}_ms": percentile_ms(merged, p) for name, p in PERCENTILES},
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)


def percentile_ms(of: Any, percentile: float) -> float | None:
    """Return a percentile in milliseconds, None when nothing was recorded."""
    if of.get_total_count() == 0:
        return None
    return round(float(of.get_value_at_percentile(percentile)) / 1000, 3)
