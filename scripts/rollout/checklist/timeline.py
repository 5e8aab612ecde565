"""What happened in a run, for its checklist's timeline: phases, traffic, swaps with their stalls, latencies by colour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from rollout import accesslog, journal
from rollout.checklist.probe import moment
from rollout.environment import Environment

BUCKETS = 120
LONGEST_MS = 60_000
STALLS = ("swap", "revert", "contract", "expand")


def events(found: Iterable[journal.Event]) -> list[dict[str, Any]]:
    """Return the events that a timeline shows, in their order: at, kind, and what."""
    shown: list[dict[str, Any]] = []
    for event in found:
        facts: dict[str, Any] = dict(event.facts)
        if event.kind in ("phase_started", "phase_ended"):
            words = facts["phase"] if event.kind == "phase_started" else f"{facts['phase']} {facts['verdict']}"
            shown.append({"at": event.time, "kind": event.kind, "phase": facts["phase"], "text": words})
        elif event.kind in ("traffic_shifted", "traffic_back"):
            was = "no server" if facts["before"] is None else f"{facts['before']:g} %"
            shown.append({"at": event.time, "kind": "traffic", "percent": facts["after"],
                          "text": f"{was} to {facts['after']:g} % on green"})  # fmt: skip
        elif event.kind == "step_done" and facts.get("step") in STALLS:
            shown += [_stall(event.time, facts, change) for change in facts["facts"].get("changes", []) if "held_ms" in change]
    return shown


def _stall(at: str, facts: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": at, "kind": "stall", "step": facts["step"], "host": facts["host"], "change": change["change"],
        "held_ms": change["held_ms"], "longest_wait_ms": change.get("longest_wait_ms", 0), "sessions": change.get("sessions", 0),
        "text": f"{facts['step']} of {change['change']}: locks held {change['held_ms']:g} ms,"
        f" {change.get('sessions', 0)} sessions waited, {change.get('longest_wait_ms', 0):g} ms at the longest",
    }  # fmt: skip


def latencies(environment: Environment, since: float, until: float) -> dict[str, Any]:
    """Return requests, failures, median and p99 (ms) by colour in at most BUCKETS slices of [since, until) (epoch seconds).

    A log that cannot be read gives no slices, and why. Memory is bounded by the slices, not by the log.
    """
    width = max(1.0, (until - since) / BUCKETS)
    colours = {a.haproxy_server: a.colour for a in environment.applications}
    kept: dict[tuple[int, str], HdrHistogram] = {}
    failed: dict[tuple[int, str], int] = {}
    try:
        for entry in accesslog.read(environment.load_balancer.log, since, until):
            where = (int((entry.t / 1000 - since) / width), colours.get(entry.server, "none"))
            failed[where] = failed.get(where, 0) + entry.failed
            kept.setdefault(where, HdrHistogram(1, LONGEST_MS, 2)).record_value(min(max(entry.total_ms, 1), LONGEST_MS))
    except Exception as error:  # noqa: BLE001  a chart is missing then, and says why
        return {"slices": [], "seconds": width, "why": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    slices = [
        {
            "at": moment(since + number * width), "offset": round(number * width, 1), "colour": colour, "n": h.get_total_count(),
            "failed": failed[number, colour], "p50_ms": h.get_value_at_percentile(50), "p99_ms": h.get_value_at_percentile(99),
        }
        for (number, colour), h in sorted(kept.items())
    ]  # fmt: skip
    return {"slices": slices, "seconds": width, "since": moment(since), "until": moment(until), "why": ""}
