"""Probes on requests as the load balancer logged them: one pass over the log for all items."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from rollout import accesslog
from rollout.checklist.probe import Asked, Observation, probe

LOG = "the load balancer's log"


@dataclass
class _Sum:
    """Requests of one kind: how many, and how long in all (ms)."""

    n: int = 0
    total_ms: int = 0


@dataclass
class Requests:
    """What one pass over the log found: sums by item, and answered and failed requests since phase 2 began."""

    sums: dict[str, _Sum] = field(default_factory=dict)
    answered: int = 0
    failed: int = 0
    since: float = 0.0

    @classmethod
    def read(cls, asked: Asked) -> Self:
        """Read the log; raises what accesslog.read raises, for a log that cannot be read in full is no measurement."""
        kinds = {i.id: i.with_ for i in asked.declared.all() if i.probe == "requests_mean"}
        begun = asked.state.phases["2"].started
        found = cls({name: _Sum() for name in kinds}, since=min(asked.since, begun.timestamp()) if begun else asked.since)
        for entry in accesslog.read(asked.environment.load_balancer.log, found.since, asked.until):
            found.answered += not entry.failed
            found.failed += entry.failed
            if entry.failed or entry.status >= 400 or entry.t < int(asked.since * 1000):  # the log has whole milliseconds
                continue
            for name, kind in kinds.items():
                if belongs(entry, kind):
                    found.sums[name].n += 1
                    found.sums[name].total_ms += entry.total_ms
        return found


def belongs(entry: accesslog.Entry, kind: dict[str, Any]) -> bool:
    """Tell whether a request is of a kind: method, path pattern, and a pattern of paths that are not meant."""
    return (
        entry.method == kind["method"]
        and fnmatchcase(entry.path, kind["path"])
        and not ("except" in kind and fnmatchcase(entry.path, kind["except"]))
    )


@probe("requests_mean", reads="window")
def requests_mean(asked: Asked) -> Observation:
    """Mean time of the successful requests of a kind, from the first byte to the last (ms)."""
    assert asked.item is not None
    found = asked.requests.sums[asked.item.id]
    source = f"{LOG}: {asked.parameter('method')} {asked.parameter('path')}"
    if not found.n:
        return Observation(
            n=0, reason="no such request in the window", source=source, since=asked.since, until=asked.until
        )
    value = found.total_ms / found.n
    return Observation(value, found.n, f"{value:.1f} ms on average", source, since=asked.since, until=asked.until)


@probe("requests_answered", reads="window")
def requests_answered(asked: Asked) -> Observation:
    """Share of the requests since phase 2 began that the server's side answered (%)."""
    found = asked.requests
    n = found.answered + found.failed
    if not n:
        return Observation(n=0, reason="no request since phase 2 began", source=LOG)
    words = f"{found.answered:,} of {n:,} requests answered, {found.failed:,} failed"
    return Observation(100 * found.answered / n, n, words, LOG, since=found.since, until=asked.until)
