"""Ask the probes, and keep what they saw in the run: before phase 2, at the end of phase 3, and after a rollback."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rollout.checklist import databases, declared, enforcement, hosts, requests, run_facts
from rollout.checklist.declared import Item
from rollout.checklist.probe import REGISTER, Asked, observe
from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.order import RunState

PROBES = (databases, enforcement, hosts, requests, run_facts)  # their import is what registers them
FLOWS = ("window", "state")


def ask(
    environment: Environment, store: ObjectStore, state: RunState, since: float, until: float, *, kpis_only: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what the probes of windows and states see, by item; `kpis_only`: of the items that the KPI tables show."""
    found = declared.load()
    kpis = {row.item for table in found.kpis for row in table.rows}
    items = [item for item in found.all() if not kpis_only or item.id in kpis]
    asked = Asked(environment, store, state, found, since, until)
    return each(asked, items, FLOWS)


def each(asked: Asked, items: Iterable[Item], reads: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the probes that read one of `reads` see, by item."""
    wanted = set(reads)
    return {
        item.id: observe(asked, item).to_dict()
        for item in items
        if item.probe and REGISTER.get(item.probe, ("state",))[0] in wanted
    }


def recorded(state: RunState) -> dict[str, dict[str, Any]]:
    """Return what this run measured and what still counts: since the last way back, or on it."""
    fact: Any = state.facts.get("measured")
    back: Any = state.facts.get("traffic_back")
    if not isinstance(fact, dict):
        return {}
    since = int(back["token"]) if back else 0
    first = since if state.phases["rollback"].attempts else since + 1
    return dict(fact["items"]) if int(fact["token"]) >= first else {}


def before(state: RunState) -> dict[str, dict[str, Any]]:
    """Return what was measured on blue ahead of phase 2."""
    fact: Any = state.facts.get("measured_before")
    return dict(fact["items"]) if isinstance(fact, dict) else {}


def window_of_watch(state: RunState) -> tuple[float, float]:
    """Return the window of phase 3's watch until now (epoch seconds); an empty one when nothing was watched."""
    now = time.time()
    watched: Any = state.facts.get("watched") or {}
    return float(watched.get("since", now)), now
