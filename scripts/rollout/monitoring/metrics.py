"""Metrics in Prometheus's exposition format: what the exporters of Postgres, Redis and HAProxy do not know of a rollout."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry, Gauge, generate_latest, write_to_textfile

from rollout.environment import Database, Environment
from rollout.errors import BadInput, RolloutError
from rollout.monitoring import asking, declaration
from rollout.monitoring import look as looks
from rollout.objectstore import ObjectStore

PREFIX = "penguin_rollout"


def render(environment: Environment, store: ObjectStore) -> bytes:
    """Return every metric as observed now."""
    return generate_latest(collect(environment, store))


def write(environment: Environment, store: ObjectStore, path: Path) -> None:
    """Write the metrics for node_exporter's textfile collector: whole or not at all, under a name that ends in .prom."""
    if path.suffix != ".prom":
        raise BadInput(f"--output {path}", limit="a name that ends in .prom", next="--output rollout.prom")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"--output {path}: its folder does not exist", next="make the folder, or name another file")
    write_to_textfile(str(path), collect(environment, store))


def collect(environment: Environment, store: ObjectStore) -> CollectorRegistry:
    """Return a registry filled by one look and by each ledger; what could not be asked has no sample."""
    return fill(
        looks.look(environment, store),
        asking.each(environment, _ledger),
        stalled_ms=lambda run: stalls(Path(environment.artifacts) / run / "journal.jsonl"),
    )


def fill(
    seen: dict[str, Any], ledgers: list[dict[str, Any]], *, stalled_ms: Callable[[str], dict[str, float]]
) -> CollectorRegistry:
    """Return a registry with what a look saw and the ledgers said; `stalled_ms`: by change, of a run."""
    made = _Made()
    if seen["run"] is not None:
        _of_run(made, seen["run"], stalled_ms(seen["run"]["run"]))
    if seen["green_percent"] is not None:
        made.set("green_traffic_ratio", "share of new requests that green gets", seen["green_percent"] / 100)
    for ledger in ledgers:
        where = {"host": ledger["host"], "tier": ledger["tier"]}
        made.set("database_asked", "1 when the ledger of a database could be read", float(not ledger["error"]), **where)
        for row in ledger["changes"]:
            made.set("change_stage", "1 for the stage that a change has", 1, **where, change=row["change"], stage=row["stage"])
            made.set("reject_rows", "rows that a rollback would leave behind", row["rejects"], **where, change=row["change"])
    _of_alerts(made, seen["alerts"])
    for job in seen["jobs"]:
        _of_job(made, job)
    for p in seen["probes"]:
        where = {"host": p["host"], "tier": p["tier"], "probe": p["probe"], "severity": p["severity"]}
        if p["value"] is not None:
            made.set("probe_value", "what a probe read, in its unit", p["value"], **where, unit=p["unit"])
        made.set("probe_verdict", "1 for the verdict of a probe: pass, fail, inconclusive, or shown without a threshold", 1,
                 **where, verdict=p["verdict"])  # fmt: skip
    made.set("critical_open", "things that are critical now", len(seen["open"]))
    made.set("observed_timestamp_seconds", "when all of this was observed", time.time())
    return made.registry


def _of_run(made: _Made, run: dict[str, Any], stalled_ms: dict[str, float]) -> None:
    for phase, verdict in run["phases"].items():
        made.set("phase_verdict", "1 for the verdict that a phase of the newest run has", 1,
                 run=run["run"], phase=phase, verdict=verdict)  # fmt: skip
    for name, value in (("run_rolled_back", run["rolled_back"]), ("run_finalized", run["finalized"])):
        made.set(name, "1 when the newest run is", float(value), run=run["run"])
    for change, ms in stalled_ms.items():
        words = "how long clients may have waited behind locks of a change, in the newest run"
        made.set("stalled_seconds", words, ms / 1000, change=change)


def _of_alerts(made: _Made, alerts: list[dict[str, Any]]) -> None:
    """Say how many are open of each kind that is known, so that none is a 0 and not an absence."""
    for kind, known in declaration.load().alerts.items():
        n = sum(alert["kind"] == kind for alert in alerts)
        made.set("open_alerts", "alerts that are raised and not resolved", n, kind=kind, severity=known.severity)
    for a in alerts:
        made.set("alert_observed", "what was seen when an open alert was raised", a["observed"],
                 host=a["host"], queue=a["queue"], kind=a["kind"], severity=a["severity"])  # fmt: skip


def _of_job(made: _Made, job: dict[str, Any]) -> None:
    where = {"host": job["host"], "job": job["job"]}
    if job["age_seconds"] is not None:
        made.set("refresh_age_seconds", "since a job last succeeded", job["age_seconds"], **where)
    if job["seconds"] is not None:
        made.set("refresh_duration_seconds", "how long a job took last", job["seconds"], **where)
    made.set("refresh_failures", "how often a job has failed so far", job["failures"], **where)


def stalls(journal: Path) -> dict[str, float]:
    """Return milliseconds of stall by change, from the journal's copy on the runner; none where there is no copy."""
    found: dict[str, float] = {}
    if not journal.is_file():
        return {}
    with journal.open() as lines:
        for line in lines:
            facts = json.loads(line)["facts"]
            facts = facts.get("facts", facts)
            for change in facts.get("changes") or []:
                if isinstance(change, dict) and "change" in change:
                    name = str(change["change"])
                    found[name] = found.get(name, 0.0) + sum(_stalled(change))
    return found


def _stalled(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "stalled_ms" and isinstance(inner, (int, float)):
                yield float(inner)
            else:
                yield from _stalled(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _stalled(inner)


def _ledger(database: Database) -> dict[str, Any]:
    told: dict[str, Any] = {"host": database.host, "tier": database.tier, "changes": [], "error": ""}
    try:
        with asking.connect(database, asking.NAME) as connection:
            if asking.has(connection, "rollout.changes"):
                told["changes"] = asking.rows(connection, "stage_and_rejects.sql")
    except (RolloutError, psycopg.Error) as error:
        told["error"] = asking.why(error)
    return told


class _Made:
    """Gauges by name, made when first set."""

    def __init__(self) -> None:
        self.registry, self._gauges = CollectorRegistry(), dict[str, Gauge]()

    def set(self, name: str, words: str, value: float, **labels: str) -> None:
        """Set one sample."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"{PREFIX}_{name}", words, list(labels), registry=self.registry)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)
