"""The checklist of a run: the seed's items, each with what was measured, against what, where and when; nobody types a tick.

A verdict comes from a measurement of this run, or from a person's word in its journal; everything else says `not measured`
and why.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from rollout.checklist import attestation, declared, judging, measuring, summary, timeline
from rollout.checklist.declared import Declared, Group
from rollout.checklist.probe import Asked
from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.order import RunState

Shown = dict[str, Any]


def build(environment: Environment, store: ObjectStore, state: RunState, *, fresh: bool = False) -> dict[str, Any]:
    """Return the checklist of a run as JSON-native data.

    `fresh`: states that can change after the run (row security, sessions, roles, trails) are looked at again, now; what flowed in
    a window, and what steps left, is as the run recorded it.
    """
    found = declared.load()
    since, until = measuring.window_of_watch(state)
    asked = Asked(environment, store, state, found, since, until)
    events, problems = asked.journal
    attested = attestation.newest(events)
    seen = measuring.recorded(state) | measuring.each(asked, found.all(), ("run", "state") if fresh else ("run",))
    shown = _judged(found, seen, attested)
    shown_events = timeline.events(events)
    counts = Counter(shown[i.id]["verdict"] for g in found.groups for i in g.items)
    return {
        "run": state.run,
        "environment": environment.name,
        "operator": state.operator,
        "plan_digest": state.plan_digest,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": summary.verdict(state, problems, counts),
        "figures": summary.figures(state, shown, shown_events),
        "counts": dict(counts),
        "phases": [
            {"name": name, **phase.model_dump(mode="json", exclude={"facts"})} for name, phase in state.phases.items()
        ],
        "rolled_back": state.rolled_back.model_dump(mode="json") if state.rolled_back else None,
        "finalized": state.finalized,
        "manifest": state.facts.get("manifest"),
        "traffic_back": state.facts.get("traffic_back"),
        "items": [{"group": g.id, **shown[i.id]} for g in found.groups for i in g.items],
        "kpis": _kpis(found, shown, _judged(found, measuring.before(state), {})),
        "criteria": _grouped(found.criteria, shown),
        "groups": [{"id": g.id, "title": g.title} for g in found.groups],
        "monitoring": _monitoring(state),
        "timeline": {"events": shown_events, "latency": _latency(environment, state)},
        "journal": {"events": len(events), "problems": problems, "prefix": f"runs/{state.run}/journal/"},
    }


def _judged(found: Declared, seen: dict[str, Any], attested: dict[str, attestation.Attestation]) -> dict[str, Shown]:
    shown: dict[str, Shown] = {i.id: judging.judge(i, seen.get(i.id), attested.get(i.id)) for i in found.all()}
    for item in found.all():
        if item.items:
            judging.together([shown[name] for name in item.items], shown[item.id])
    return shown


def _grouped(groups: list[Group], shown: dict[str, Shown]) -> list[dict[str, Any]]:
    return [{"title": group.title, "items": [shown[item.id] for item in group.items]} for group in groups]


def _kpis(found: Declared, after: dict[str, Shown], earlier: dict[str, Shown]) -> list[dict[str, Any]]:
    """Return the KPI tables: the seed's current and target, measured before and after, in the item's unit."""
    return [
        {
            "title": table.title,
            "rows": [
                {
                    "metric": row.metric, "current": row.current, "target": row.target, "id": row.item,
                    "unit": after[row.item]["unit"], "before": earlier[row.item]["value"], "after": after[row.item]["value"],
                    "verdict": after[row.item]["verdict"], "observed": after[row.item]["observed"],
                }
                for row in table.rows
            ],
        }
        for table in found.kpis
    ]  # fmt: skip


def _monitoring(state: RunState) -> dict[str, Any] | None:
    """Return what the last pass of phase 3 read: `observed` (when), `probes`, `alerts` that were open, `failed` refreshes."""
    found: Any = state.facts.get("monitoring")
    if not isinstance(found, dict):
        return None
    failed = [one for one in found["ran"] if one["outcome"] == "failed"]
    return {"observed": found["observed"], "probes": found["probes"], "alerts": found["alerts"], "failed": failed}


def _latency(environment: Environment, state: RunState) -> dict[str, Any]:
    started = [p.started.timestamp() for n, p in state.phases.items() if p.started and n != "1"]
    ended = [p.finished.timestamp() for n, p in state.phases.items() if p.finished and n != "1"]
    if not started:
        return {"slices": [], "seconds": 0, "why": "phase 2 has not begun"}
    return timeline.latencies(environment, min(started), max(ended, default=time.time()))
