"""The report on row security: every relation of every live database, what it is worth and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.engine import ledger
from rollout.engine.security import report, rules
from rollout.environment import TIERS, Environment, HostSet


def of(env: Environment, tiers: Sequence[str] = TIERS, host_set: HostSet = "live") -> list[dict[str, Any]]:
    """Return a line for every relation of every database of some tiers: relation, tier, host, kind, verdict, why.

    `verdict`: pass, fail or "not multi-tenant". It only reads, in sessions that cannot write. Raises Failed when a database does
    not answer.
    """
    lines: list[dict[str, Any]] = []
    for tier in tiers:
        change = rules.securing(tier)
        for database in env.tier(tier, host_set) if change else []:
            with ledger.connect(database, "rollout-rls") as connection:
                connection.execute("SET default_transaction_read_only = on")
                assert change
                found = report.relations(connection, change, rules.of(connection, change))
            lines += [{"tier": tier, "host": database.host, **line.to_dict()} for line in found]
    return lines
