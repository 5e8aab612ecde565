"""The schedule: what 007 made is kept up to date, one pass at a time, however many begin one.

A job runs under a session lock of its database, so that it ends with whoever held it: after a kill nothing has to be
cleared away. What it did commits together with the record that it was done.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from rollout import performance_view
from rollout.engine.ledger import Connection
from rollout.environment import Database, Environment
from rollout.errors import Refused, RolloutError
from rollout.monitoring import asking, declaration
from rollout.monitoring.declaration import SQL, Job

LOCK = "SELECT pg_try_advisory_lock(hashtext('rollout.monitor'), hashtext(%s)) AS mine"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('rollout.monitor'), hashtext(%s))"
DUE = (
    "SELECT extract(epoch FROM clock_timestamp() - last_success)::float8 AS age FROM rollout.monitor_jobs"
    " WHERE job = %s AND last_success IS NOT NULL"
)


@dataclass(frozen=True)
class Ran:
    """What came of one job in one database; `why`: of one that was skipped or failed."""

    host: str
    tier: str
    job: str
    outcome: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def run(environment: Environment, *, force: bool = False) -> list[Ran]:
    """Run one pass on every live database, and return what came of each job; what fails is recorded and said, not raised.

    `force`: also what succeeded only just now. What another pass is at is left to it.
    """
    found = asking.each(environment, lambda database: list(_database(environment, database, force=force)))
    return [ran for of in found for ran in of]


def standing(connection: Connection) -> list[dict[str, Any]]:
    """Return how each job stands in a database, JSON-native; none where 007 is not expanded."""
    if not asking.has(connection, "rollout.monitor_jobs"):
        return []
    told = asking.rows(connection, "jobs.sql")
    return [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()} for row in told]


def _database(environment: Environment, database: Database, *, force: bool) -> Iterator[Ran]:
    wanted = [job for job in declaration.load().jobs if database.tier in job.tiers]
    left = [job.name for job in wanted]
    try:
        with asking.connect(database, asking.NAME) as connection:
            if not asking.has(connection, "rollout.monitor_jobs"):
                for job in wanted:
                    yield Ran(database.host, database.tier, job.name, "skipped", why="007_monitoring is not expanded here")
                return
            for job in wanted:
                yield _job(environment, database, connection, job, force=force)
                left.remove(job.name)
    except (RolloutError, psycopg.Error) as error:
        for name in left:
            yield Ran(database.host, database.tier, name, "failed", why=asking.why(error))


def _job(environment: Environment, database: Database, connection: Connection, job: Job, *, force: bool) -> Ran:
    def ran(outcome: Literal["done", "skipped", "failed"], **said: Any) -> Ran:
        return Ran(database.host, database.tier, job.name, outcome, **said)

    with _lock(connection, job.name) as mine:
        if not mine:
            return ran("skipped", why="another pass is at it")
        last = connection.execute(DUE, (job.name,)).fetchone()
        if last and last["age"] < job.every_seconds and not force:
            return ran("skipped", why=f"done {last['age']:.0f} s ago")
        connection.execute((SQL / "job_begin.sql").read_bytes(), {"job": job.name, "runner": _runner()})
        try:
            facts = _call(environment, database) if job.call else {}  # on connections of its own: none may idle in a transaction
            with asking.transaction(connection, job.timeout_seconds):
                facts = facts or _work(connection, job)
                seconds = _done(connection, job, facts=facts)
        except Refused as error:  # what it needs is not there yet
            _done(connection, job, error=error.observed)
            return ran("skipped", why=error.observed)
        except (RolloutError, psycopg.Error) as error:
            if connection.closed:
                raise
            _done(connection, job, error=asking.why(error))
            return ran("failed", why=asking.why(error))
        return ran("done", seconds=round(seconds, 3), facts=facts)


@contextmanager
def _lock(connection: Connection, name: str) -> Iterator[bool]:
    row = connection.execute(LOCK, (name,)).fetchone()
    mine = bool(row and row["mine"])
    try:
        yield mine
    finally:
        if mine and not connection.closed:
            connection.execute(UNLOCK, (name,))


def _work(connection: Connection, job: Job) -> dict[str, Any]:
    if job.refresh:
        return _refresh(connection, job.refresh)
    return {key: int(value) for key, value in asking.rows(connection, job.sql, job.values)[0].items()}


def _call(environment: Environment, database: Database) -> dict[str, Any]:
    """Bring oltp's campaigns over to one olap database and refresh its performance view."""
    others = [d for d in environment.databases if d.tier != "olap"]
    told = performance_view.refresh(environment.model_copy(update={"databases": [*others, database]}))
    return {"rows": sum(one.rows for one in told), "without_campaign": sum(one.without_campaign for one in told)}


def _refresh(connection: Connection, view: str) -> dict[str, Any]:
    """Refresh a view beside its readers; one that was never filled has none, and can only be filled whole."""
    row = connection.execute("SELECT relispopulated AS filled FROM pg_class WHERE oid = %s::regclass", (view,)).fetchone()
    beside = sql.SQL("CONCURRENTLY " if row and row["filled"] else "")
    name = sql.Identifier(*view.split("."))
    connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(beside, name))
    counted = connection.execute(sql.SQL("SELECT count(*) AS n FROM {}").format(name)).fetchone()
    return {"rows": int(counted["n"]) if counted else 0}


def _done(connection: Connection, job: Job, *, facts: dict[str, Any] | None = None, error: str | None = None) -> float:
    found = asking.rows(connection, "job_done.sql", {"job": job.name, "error": error, "facts": Jsonb(facts or {})})
    return float(found[0]["seconds"])


def _runner() -> str:
    return f"{getpass.getuser()} on {socket.gethostname()} (pid {os.getpid()})"
