"""Steps that measure what the checklist asks for; none of them judges, and none of them stops a run."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rollout import traffic
from rollout.checklist import measuring
from rollout.road.context import Context, Facts, step

BEFORE_SECONDS = 60.0


@step("measure_before")
def measure_before(context: Context, host: str) -> Facts:
    """Measure the KPIs over the last minute while blue serves alone; kept from an earlier attempt when it no longer does."""
    if traffic.split(context.environment).percent > 0:
        return {"changed": False, "say": "green serves already: what was measured before stays"}
    return _measure(context, "measured_before", time.time() - BEFORE_SECONDS, kpis_only=True)


@step("measure")
def measure(context: Context, host: str) -> Facts:
    """Measure every item, over the watch of phase 3, or over the time since a rollback gave the traffic back."""
    since, _ = measuring.window_of_watch(context.session.state())
    if context.phase == "rollback":
        back: Any = context.fact("traffic_back") or {}
        since = float(back.get("at", time.time()))
    return _measure(context, "measured", since)


def _measure(context: Context, name: str, since: float, *, kpis_only: bool = False) -> Facts:
    state = context.session.state()
    seen = measuring.ask(context.environment, context.store, state, since, time.time(), kpis_only=kpis_only)
    context.set_fact(name, {"items": seen, **context.stamp()})
    kinds = Counter("measured" if s["value"] is not None or s["failed"] else "not measured" for s in seen.values())
    return {"changed": False, "seen": seen,
            "say": f"{kinds['measured']} of {len(seen)} figures measured"}  # fmt: skip
