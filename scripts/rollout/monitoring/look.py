"""One look at everything that is watched: run, traffic, gates, probes, alerts, jobs; and what of it is critical."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from rollout import gates, runs, traffic
from rollout.environment import Database, Environment
from rollout.errors import RolloutError
from rollout.gates import Verdict
from rollout.monitoring import asking, declaration, jobs, probes
from rollout.monitoring.jobs import Ran
from rollout.objectstore import ObjectStore
from rollout.order import PhaseName, RunState

FORWARD: tuple[PhaseName, ...] = ("1", "2", "3", "finalize")


@dataclass
class Window:
    """What the gates compare with: how things were when the look before this one ended (epoch seconds), and blue's facts."""

    since: float
    begun: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, environment: Environment) -> Window:
        """Return a window that begins now."""
        return cls(time.time(), gates.start(environment))


def look(
    environment: Environment, store: ObjectStore, *, ran: Sequence[Ran] = (), window: Window | None = None
) -> dict[str, Any]:
    """Return what is seen now, JSON-native. `ran`: what the pass before it did; `window`: without one no gate is asked.

    `open`: what is critical, a line each: nobody could say that it is well, or it is not.
    """
    seen: dict[str, Any] = {"environment": environment.name, "observed": datetime.now(UTC).isoformat(timespec="seconds")}
    state = _run(seen, store)
    try:
        seen["green_percent"] = traffic.told(traffic.split(environment).percent)
        seen["traffic_error"] = "no server has traffic" if seen["green_percent"] is None else ""
    except RolloutError as error:
        seen["green_percent"], seen["traffic_error"] = None, error.observed
    verdicts = _gates(environment, state, window) if window and seen["green_percent"] else []
    seen["gates"] = [verdict.to_dict() for verdict in verdicts]
    readings = probes.take(environment)
    seen["probes"] = [reading.to_dict() for reading in readings]
    seen["ran"] = [one.to_dict() for one in ran]
    told = asking.each(environment, _database)
    seen["alerts"] = [alert for of in told for alert in of["alerts"]]
    seen["jobs"] = [job for of in told for job in of["jobs"]]
    seen["open"] = [
        *(f"gate {v.name}: {v.observed}" for v in verdicts if v.verdict == "fail"),
        *(
            f"{r.title} on {r.host}: " + (f"{r.value:g} {r.unit}" if r.value is not None else f"not measured, {r.detail}")
            for r in readings
            if r.severity == "critical" and r.verdict in ("fail", "inconclusive")
        ),
        *(f"alert {a['kind']} of {a['queue']}: {a['observed']:g}" for a in seen["alerts"] if a["severity"] == "critical"),
        *([f"traffic: {seen['traffic_error']}"] if seen["traffic_error"] else []),
    ]
    return seen


def phase_of(run: dict[str, Any] | None) -> str:
    """Return the phase that a run has come to, in words."""
    if run is None:
        return "no run has begun"
    if run["finalized"]:
        return "finalized"
    if run["rolled_back"]:
        return "rolled back"
    begun = [(name, run["phases"][name]) for name in FORWARD if run["phases"][name] != "pending"]
    return f"phase {begun[-1][0]} {begun[-1][1]}" if begun else "phase 1 pending"


def _run(seen: dict[str, Any], store: ObjectStore) -> RunState | None:
    try:
        state = runs.current(store)
    except RolloutError as error:
        seen["run"], seen["run_error"] = None, error.observed
        return None
    seen["run"] = state and {
        "run": state.run, "operator": state.operator, "finalized": state.finalized,
        "rolled_back": state.rolled_back is not None,
        "phases": {name: phase.verdict for name, phase in state.phases.items()},
    }  # fmt: skip
    return state


def _gates(environment: Environment, state: RunState | None, window: Window) -> list[Verdict]:
    """Ask the gates as the cutover's watch does; nothing is done about what they say: that is the phase's."""
    baseline: Any = state.facts.get("blue_baseline") if state else None
    return gates.sample(environment, gates.registry(), window.since, begun=window.begun, baseline=baseline)


def _database(database: Database) -> dict[str, Any]:
    """Return open alerts and standing jobs of a database; what cannot be asked is said by its probes."""
    found: dict[str, Any] = {"alerts": [], "jobs": []}
    try:
        with asking.connect(database, asking.NAME) as connection:
            found["jobs"] = [{"host": database.host, **job} for job in jobs.standing(connection)]
            if asking.has(connection, "public.queue_alerts"):
                found["alerts"] = [_alert(database, row) for row in asking.rows(connection, "open_alerts.sql")]
    except (RolloutError, psycopg.Error):
        return {"alerts": [], "jobs": []}
    return found


def _alert(database: Database, row: dict[str, Any]) -> dict[str, Any]:
    # One that this version does not know of (any more) is open all the same.
    known = declaration.load().alerts.get(row["kind"]) or declaration.Alert(title=row["kind"], unit="", severity="high")
    return {
        "host": database.host, "queue": row["queue_name"], "kind": row["kind"], "title": known.title, "unit": known.unit,
        "severity": known.severity, "observed": row["observed"], "threshold": row["threshold"],
        "raised_at": row["raised_at"].isoformat(timespec="seconds"),
    }  # fmt: skip
