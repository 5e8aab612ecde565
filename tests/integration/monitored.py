"""Four databases in one server with 007 expanded, and jobs for its queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from memorystore import MemoryStore, as_store
from servers import Server, database, superuser
from traffic_fakes import FakeBalancer, environment

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import TIERS, Environment, Settings
from rollout.monitoring import jobs
from rollout.monitoring.asking import rows

NAME = "007_monitoring"
SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 500, "lock_attempts_max": 50, "chunk_target_ms": 20,
            "blocker_transaction_max_seconds": 1.0}  # fmt: skip
OPEN = "SELECT count(*) FROM queue_alerts WHERE resolved_at IS NULL AND kind = 'pending_jobs'"
VALUES = {"max_pending_jobs": 100, "keep_days": 365}


class Place:
    """Four databases in one server with 007 expanded, a balancer that answers, and a store in memory."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.balancer, self.memory = server, FakeBalancer(), MemoryStore()
        self.store = as_store(self.memory)
        targets = [database(server, tier, server.database(tier), server.port) for tier in TIERS]
        self.env: Environment = environment(folder, self.balancer.address).model_copy(update={"databases": targets})
        with superuser(server.port) as connection:
            connection.execute("CREATE ROLE reader LOGIN IN ROLE pg_monitor")
        for tier in TIERS:
            with self.superuser(tier) as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
            self.stage(tier, NAME, "expand")

    def stage(self, tier: str, name: str, *stages: str) -> None:
        """Take a change through stages."""
        change = next(c for c in changes.plan(tier) if c.name == name)
        with ledger.connect(self.env.tier(tier)[0]) as connection:
            made = Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS))
            for stage in stages:
                getattr(made, stage)()

    def superuser(self, tier: str) -> psycopg.Connection[Any]:
        """Return a connection that may do anything."""
        return superuser(self.server.port, self.env.tier(tier)[0].dbname)

    def do(self, tier: str, statement: str, user: str = "penguin_rollout") -> Any:
        """Run a statement and return its first value, if it has one."""
        conninfo = self.server.conninfo(self.env.tier(tier)[0].dbname, user)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            row = done.fetchone() if done.description else None
        return row[0] if row else None

    def evaluate(self) -> dict[str, Any]:
        """Renew the dashboard and judge it, under no lock of the pass's."""
        with ledger.connect(self.env.tier("queue")[0]) as connection:
            connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY queue_health_dashboard")
            return rows(connection, "queue_alerts.sql", VALUES)[0]

def outcomes(ran: list[jobs.Ran]) -> dict[tuple[str, str], str]:
    """Return the outcome by tier and job."""
    return {(one.tier, one.job): one.outcome for one in ran}


def add(place: Place, n: int, status: str = "queued", queue_name: str = "webhook-processing", **more: str) -> None:
    """Put jobs into a queue, under the names that every client has at every stage."""
    columns = {"queue_name": f"'{queue_name}'", "status": f"'{status}'", "payload": "'{}'", **more}
    names, values = ", ".join(columns), ", ".join(columns.values())
    place.do("queue", f"INSERT INTO public.jobs ({names}) SELECT {values} FROM generate_series(1, {n})")
