"""The object that says what one tool did at one size, and the aims that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout.bench.client import Seen
from rollout.bench.samples import Samples, quiet_from, window
from rollout.bench.subject import Measured, Step

# Present in every object; None where a tool has no such thing, or was not measured.
FIGURES = (
    "baseline_p50_ms", "baseline_p99_ms", "baseline_max_ms", "during_p50_ms", "during_p99_ms", "during_max_ms",
    "after_p50_ms", "after_p99_ms", "after_max_ms", "longest_stall_over_baseline_ms", "rows_per_s", "offline_rows_per_s",
    "copy_share_of_offline", "built_share_of_offline", "total_seconds", "compare_share",
    "write_overhead", "unflushed_write_overhead",
    "bulk_write_overhead", "swap_ms", "rollback_ms", "failed_statements", "lost_writes",
)  # fmt: skip
OURS = "rollout"
FLAT_SHARE = 0.2
Object = dict[str, Any]


@dataclass(frozen=True)
class Times:
    """Instants of one run, in the machine's monotonic seconds: the baseline, the tool at work, and the end of the load."""

    baseline_start: float
    start: float
    end: float
    settled: float
    load_end: float


def unmeasured(tool: str, rows: int, why: str, **more: Any) -> Object:
    """Return an object without figures that says why there are none."""
    return {"tool": tool, "rows": rows, **dict.fromkeys(FIGURES), "not_measured": why, **more}


def measured(
    tool: str, rows: int, did: Measured, offline: dict[str, float], seen: Seen, times: Times, steps: list[Step]
) -> Object:
    """Return the object of a tool that did its work."""
    samples = seen.samples
    quiet = quiet_from(samples, times.end)
    latencies = {
        "baseline": window(samples, times.baseline_start, times.start),
        "during": window(samples, times.start, quiet),
        "after": window(samples, quiet + times.settled, times.load_end),
    }
    figures: Object = {
        f"{name}_{kind}_ms": getattr(seen_then, f"{kind}_ms")
        for name, seen_then in latencies.items()
        for kind in ("p50", "p99", "max")
    }
    beside = offline.get(did.filled, offline["key"])
    if latencies["during"].max_ms is not None and latencies["baseline"].p50_ms is not None:
        # Not less its p99 or maximum: a hiccup of the machine in the baseline would excuse a stall of ours.
        figures["longest_stall_over_baseline_ms"] = latencies["during"].max_ms - latencies["baseline"].p50_ms
    built_seconds = did.facts["copy_seconds"] + did.facts.get("index_seconds", 0)
    figures |= did.write_overhead | {
        "rows_per_s": did.rows_per_s, "offline_rows_per_s": beside, "copy_share_of_offline": did.rows_per_s / beside,
        "built_share_of_offline": rows / built_seconds / offline["all"],
        "compare_share": did.compare_share, "swap_ms": did.swap_ms, "rollback_ms": did.rollback_ms,
        "total_seconds": did.facts["total_seconds"], "failed_statements": sum(samples.failed),
        "lost_writes": seen.lookup["lost_writes"],
    }  # fmt: skip
    assert set(figures) <= set(FIGURES)
    return {
        "tool": tool, "rows": rows, **{name: rounded(figures.get(name)) for name in FIGURES},
        "filled_with_indexes": did.filled, "offline": {name: round(rate) for name, rate in offline.items()},
        "statements": {name: seen_then.statements for name, seen_then in latencies.items()},
        "client_lag_max_ms": {name: seen_then.client_lag_max_ms for name, seen_then in latencies.items()},
        "max_beside_lag_ms": {name: seen_then.max_beside_lag_ms for name, seen_then in latencies.items()},
        "clients": seen.to_dict(), "facts": did.facts,
        "steps": [{"step": s.name, "seconds": round(s.end - s.start, 3), **_of(samples, s)} for s in steps],
    }  # fmt: skip


def aims(objects: list[Object]) -> list[Object]:
    """Return each aim with what was measured for it: `reached` is None where nothing was."""
    found = [o for o in objects if o["tool"] == OURS]
    told: list[Object] = []
    for o in found:
        for aim, figure, limit, most in (
            ("longest client stall over the baseline, ms", "longest_stall_over_baseline_ms", 100, True),
            ("copy, of an offline INSERT ... SELECT", "copy_share_of_offline", 0.5, False),
            ("comparison, of the copy", "compare_share", 0.15, True),
            ("write overhead", "write_overhead", 2, True),
            ("swap, ms", "swap_ms", 50, True),
            ("rollback, ms", "rollback_ms", 50, True),
        ):
            value = o[figure]
            reached = None if value is None else value <= limit if most else value >= limit
            told.append({"aim": aim, "rows": o["rows"], "limit": limit, "at_most": most, "measured": value, "reached": reached})
    rates = [o["rows_per_s"] for o in found]
    spread = None if len(rates) < 2 or None in rates else round(1 - min(rates) / max(rates), 3)
    told.append({
        "aim": "spread of the copy's rate over all sizes", "rows": None, "limit": FLAT_SHARE, "at_most": True,
        "measured": spread, "reached": None if spread is None else spread <= FLAT_SHARE,
    })  # fmt: skip
    return told


def good(objects: list[Object]) -> bool:
    """Return whether ours lost and failed nothing, and every tool that was to be measured was."""
    ours = [o for o in objects if o["tool"] == OURS and "not_measured" not in o]
    whole = all(
        not (o["failed_statements"] or o["lost_writes"] or o["clients"]["rows_unaccounted"] or o["clients"]["wrong_answers"])
        for o in ours
    )
    return whole and not any(o.get("failed") for o in objects)


def rounded(value: float | None) -> float | int | None:
    """Return a figure with as many digits as mean something."""
    if value is None or isinstance(value, int):
        return value
    return round(value) if value >= 1000 else round(value, 3)


def _of(samples: Samples, step: Step) -> dict[str, float | None]:
    seen = window(samples, step.start, max(step.end, step.start + 1e-3))
    return {"p99_ms": seen.p99_ms, "max_ms": seen.max_ms, "max_beside_lag_ms": seen.max_beside_lag_ms}
