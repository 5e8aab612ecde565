"""The probes: every live view of every tier, each with a verdict; what cannot be measured is no pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psycopg

from rollout.engine.ledger import Connection
from rollout.environment import Database, Environment
from rollout.errors import RolloutError
from rollout.monitoring import asking, declaration
from rollout.monitoring.declaration import Probe, Severity

Verdict = Literal["pass", "fail", "inconclusive", "shown"]


@dataclass(frozen=True)
class Reading:
    """What a probe read in one database: `value` in `unit`, or None and in `detail` why; `shown`: it has no threshold."""

    host: str
    tier: str
    probe: str
    title: str
    value: float | None
    unit: str
    threshold: float | None
    worse: Literal["above", "below"]
    severity: Severity
    verdict: Verdict
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def take(environment: Environment) -> list[Reading]:
    """Ask every probe of every live database."""
    found = asking.each(environment, lambda database: list(_database(environment, database)))
    return [reading for of in found for reading in of]


def _database(environment: Environment, database: Database) -> Iterator[Reading]:
    wanted = [probe for probe in declaration.load().probes if database.tier in probe.tiers]
    left, roles = list(wanted), [database.app_role, *declaration.load().application_roles]
    processes = max(1, *(len(environment.colour(colour)) for colour in ("blue", "green")))
    try:
        with asking.connect(database, asking.NAME) as connection:
            for probe in wanted:
                given = {**probe.values_in(database.tier), "roles": roles, "processes": processes}
                yield _ask(connection, database, probe, given)
                left.remove(probe)
    except (RolloutError, psycopg.Error) as error:
        for probe in left:
            yield _reading(database, probe, None, asking.why(error))


def _ask(connection: Connection, database: Database, probe: Probe, values: dict[str, Any]) -> Reading:
    try:
        with asking.transaction(connection, asking.ASK_SECONDS, read_only=True):
            found = asking.rows(connection, probe.sql, values)
    except psycopg.Error as error:
        if connection.closed:
            raise
        return _reading(database, probe, None, asking.why(error))
    if not found or found[0]["value"] is None:
        return _reading(database, probe, None, "nothing to measure yet")
    return _reading(database, probe, float(found[0]["value"]), str(found[0]["detail"]))


def _reading(database: Database, probe: Probe, value: float | None, detail: str) -> Reading:
    tier, limit = database.tier, probe.threshold_in(database.tier)
    verdict: Verdict
    if value is None or not math.isfinite(value):
        value, verdict = None, "inconclusive"
    elif limit is None:
        verdict = "shown"
    else:
        verdict = "fail" if probe.is_beyond(tier, value) else "pass"
    return Reading(
        database.host, tier, probe.name, probe.title, None if value is None else round(value, 3), probe.unit, limit,
        probe.worse, probe.severity_in(tier), verdict, " ".join(detail.split()),
    )  # fmt: skip
