"""What clients saw: one sample a statement, and the latencies of those that were due between two instants."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from rollout.load.results import histogram, percentile_ms, record


@dataclass
class Samples:
    """Parallel columns, in the order of the answers. Instants are of the machine's monotonic clock, all in seconds.

    `lag`: how late the client itself was to send, which is part of `latency`; that counts from `due` to the answer.
    """

    due: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))
    lag: array[float] = field(default_factory=lambda: array("d"))
    failed: array[int] = field(default_factory=lambda: array("b"))

    def add(self, due: float, latency: float, lag: float, *, failed: bool) -> None:
        """Add a statement that was answered, or failed."""
        self.due.append(due)
        self.latency.append(latency)
        self.lag.append(lag)
        self.failed.append(failed)


@dataclass(frozen=True)
class Window:
    """Statements due in a window. Latencies in milliseconds, None when none were due: no data is no figure.

    `max_beside_lag_ms`: the longest, each counted from when it was sent: what the server alone is to blame for.
    """

    statements: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    client_lag_max_ms: float | None
    max_beside_lag_ms: float | None


def window(samples: Samples, start: float, end: float) -> Window:
    """Return the latencies of what was due in [start, end); the maximum is exact, percentiles are within one per cent."""
    chosen = [n for n, due in enumerate(samples.due) if start <= due < end]
    latencies = histogram()
    for n in chosen:
        record(latencies, samples.latency[n])
    return Window(
        statements=len(chosen),
        failed=sum(samples.failed[n] for n in chosen),
        p50_ms=percentile_ms(latencies, 50),
        p99_ms=percentile_ms(latencies, 99),
        max_ms=round(max(samples.latency[n] for n in chosen) * 1000, 3) if chosen else None,
        client_lag_max_ms=round(max(samples.lag[n] for n in chosen) * 1000, 3) if chosen else None,
        max_beside_lag_ms=round(max(samples.latency[n] - samples.lag[n] for n in chosen) * 1000, 3) if chosen else None,
    )


def quiet_from(samples: Samples, instant: float) -> float:
    """Return the first instant from `instant` on at which nothing was in flight: only there has a stall passed."""
    for due, latency in sorted(zip(samples.due, samples.latency, strict=True)):
        if due > instant:
            break
        instant = max(instant, due + latency)
    return instant
