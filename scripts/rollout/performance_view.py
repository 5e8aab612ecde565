"""campaign_performance_mv: bring oltp's campaigns over to olap, refresh beside the readers, record the freshness."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import sql

from rollout.engine import ledger
from rollout.environment import Database, Environment, HostSet
from rollout.errors import Failed, Refused
from rollout.references.pipe import pipe

SQL = Path(__file__).parent / "sql"
CAMPAIGNS = sql.SQL(
    "SELECT id::text, tenant_id::text, company_id::text, name::text, status::text FROM public.campaigns"
)

VIEW = """
SELECT n.nspname AS home, c.relname AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND n.nspname IN ('v2', 'public')
    AND c.relname IN ('campaign_performance_mv', 'campaign_performance_mv_all')
"""


@dataclass(frozen=True)
class Freshness:
    """What a refresh left: rows of the view, campaign ids in campaign_analytics that oltp does not have, times."""

    host: str
    refreshed_at: datetime
    source_copied_at: datetime
    rows: int
    without_campaign: int
    duration_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        stamps = {"refreshed_at": self.refreshed_at.isoformat(), "source_copied_at": self.source_copied_at.isoformat()}
        return {**self.__dict__, **stamps}


def refresh(environment: Environment, host_set: HostSet = "live") -> list[Freshness]:
    """Refresh the view on every olap database of a host set; readers are not blocked once it has been filled.

    Raise Refused when 004 is not expanded there, Failed when a database is away. May be repeated at any time.
    """
    oltp = environment.tier("oltp", host_set)
    return [_refresh(database, oltp) for database in environment.tier("olap", host_set)]


def _refresh(database: Database, oltp: list[Database]) -> Freshness:
    started = time.monotonic()
    with ExitStack() as stack:
        connection = stack.enter_context(ledger.connect(database, "rollout-performance-view"))
        home, view = _home(connection, database)
        names = {
            "reference": sql.Identifier(home, "campaign_reference"),
            "view": sql.Identifier(home, view),
            "freshness": sql.Identifier(home, "campaign_performance_freshness"),
        }
        with connection.transaction():
            # Two refreshes at once would wait for each other's rows; the second one waits here instead.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('rollout.performance_view'))")
            now = connection.execute("SELECT clock_timestamp() AS now").fetchone()
            copied_at = now["now"] if now else None
            connection.execute(
                "CREATE TEMP TABLE campaigns_incoming"
                " (campaign_id text, tenant_id text, company_id text, name text, status text) ON COMMIT DROP"
            )
            for source in oltp:
                with ledger.connect(source, "rollout-performance-view") as campaigns:
                    campaigns.execute("SET row_security = off")
                    pipe(campaigns, CAMPAIGNS, connection, sql.Identifier("campaigns_incoming"))
            connection.execute("ANALYZE campaigns_incoming")
            connection.execute(_composed("campaign_reference_merge.sql", names), {"copied_at": copied_at})
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('rollout.performance_view'))")
            filled = connection.execute(
                "SELECT relispopulated FROM pg_class WHERE oid = %s::regclass", (f"{home}.{view}",)
            ).fetchone()
            beside = sql.SQL("CONCURRENTLY " if filled and filled["relispopulated"] else "")
            connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(beside, names["view"]))
            duration = timedelta(seconds=time.monotonic() - started)
            values = {"copied_at": copied_at, "duration": duration}
            row = connection.execute(_composed("campaign_performance_freshness.sql", names), values).fetchone()
    if row is None:
        raise Failed(f"{database.host} recorded no freshness of campaign_performance_mv", next="repeat the command")
    return Freshness(host=database.host, **row)


def _home(connection: ledger.Connection, database: Database) -> tuple[str, str]:
    """Return the schema and the name of the materialised view: once row security is on, a filtering view has its first name."""
    row = connection.execute(VIEW).fetchone()
    if row:
        return str(row["home"]), str(row["name"])
    raise Refused(
        f"{database.host} has no campaign_performance_mv",
        limit="004_olap_performance expanded",
        next="invoke deploy --phase 2",
    )


def _composed(file: str, names: dict[str, sql.Identifier]) -> sql.Composed:
    return sql.SQL((SQL / file).read_text()).format(**names)
