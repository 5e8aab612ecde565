"""Strong locks: asked for briefly, after looking for whoever is in the way, within a stall budget.

A waiting ACCESS EXCLUSIVE makes every later statement on the table wait too, so what counts is not only how long we
hold a lock but how long we ask for it. `Stalls` adds both up; when the budget is spent the change stops, safely.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql

from rollout.engine.ledger import Connection
from rollout.environment import Settings
from rollout.errors import Refused

T = TypeVar("T")
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 2.0
BLOCKERS = """
SELECT DISTINCT a.pid, coalesce(a.usename, a.backend_type) AS who, a.application_name, a.state,
    round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1)::float8 AS seconds, left(a.query, 80) AS query
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation = ANY (%(relations)s::oid[]) AND l.granted AND l.pid <> pg_backend_pid()
    AND (a.backend_type = 'autovacuum worker' OR clock_timestamp() - a.xact_start > make_interval(secs => %(seconds)s))
ORDER BY seconds DESC NULLS LAST
"""
WAITERS = "SELECT count(DISTINCT pid) AS n FROM pg_locks WHERE NOT granted AND relation = ANY (%s::oid[])"


@dataclass
class Stalls:
    """What strong locks cost so far: attempts, milliseconds asked for and held, sessions seen waiting behind us."""

    attempts: int = 0
    stalled_ms: float = 0.0
    longest_ms: float = 0.0
    sessions: int = 0
    held_ms: float = 0.0
    began: float = 0.0
    blockers: list[str] = field(default_factory=list)

    def add(self, started: float, sessions: int = 0) -> None:
        """Count one attempt that began at monotonic time `started`."""
        spent = (time.monotonic() - started) * 1000
        self.attempts += 1
        self.stalled_ms += spent
        self.longest_ms = max(self.longest_ms, spent)
        self.sessions += sessions

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values, milliseconds rounded to a tenth."""
        return {
            "attempts": self.attempts,
            "stalled_ms": round(self.stalled_ms, 1),
            "longest_ms": round(self.longest_ms, 1),
            "held_ms": round(self.held_ms, 1),
            "sessions": self.sessions,
        }


def with_locks(
    connection: Connection,
    relations: Sequence[str],
    mode: str,
    settings: Settings,
    stalls: Stalls,
    work: Callable[[], T],
) -> T:
    """Run `work` in one transaction that first locks `relations` (qualified, quoted for SQL) in `mode`, in the given order.

    A refusal (lock timeout, deadlock, a statement over the budget of one go) rolls back and is tried again after a
    backoff; raises Refused, naming the blocker, when the attempts or the stall budget are spent.
    """
    looked = 0
    for attempt in range(settings.lock_attempts_max):
        looked += 1
        if attempt:
            delay = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2**attempt)
            time.sleep(delay * random.uniform(0.5, 1.0))
        oids = _oids(connection, relations)
        stalls.blockers = blockers(connection, oids, settings)
        if stalls.blockers:
            continue
        started = stalls.began = time.monotonic()
        try:
            with connection.transaction():
                held_since = _take(connection, relations, mode, settings, started)
                result = work()
                waiting = connection.execute(WAITERS, (oids,)).fetchone()
            stalls.held_ms = (time.monotonic() - held_since) * 1000
            stalls.add(started, int(waiting["n"]) if waiting else 0)
            return result
        except (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled) as error:
            stalls.add(started)
            stalls.blockers = blockers(connection, oids, settings, any_age=True) or [type(error).__name__]
            if stalls.stalled_ms >= settings.stall_budget_total_ms:
                break
    who = "; ".join(stalls.blockers[:3]) or "nobody that can be named"
    raise Refused(
        f"no {mode} lock on {', '.join(relations)} after looking {looked} times and asking {stalls.attempts}"
        f" times, with {stalls.stalled_ms:.0f} ms of stall; in the way: {who}",
        limit=f"{settings.stall_budget_total_ms} ms in all, {settings.stall_budget_once_ms} ms in one go",
        next="wait for the blocker or end it, then repeat the command: it goes on from here",
        page="runbooks/deploy.md#lock-refused",
    )


def limit(connection: Connection, settings: Settings, stalls: Stalls) -> None:
    """Let the next statements of this attempt take no longer each than what is left of one go."""
    left = max(1, settings.stall_budget_once_ms - int((time.monotonic() - stalls.began) * 1000))
    connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{left}ms")))


def blockers(connection: Connection, oids: list[int], settings: Settings, *, any_age: bool = False) -> list[str]:
    """Return a line for each session that holds a lock on the relations and is not about to let go of it."""
    seconds = 0.0 if any_age else settings.blocker_transaction_max_seconds
    rows = connection.execute(BLOCKERS, {"relations": oids, "seconds": seconds}).fetchall()
    return [
        f"pid {r['pid']} ({r['who']}, {r['application_name']}, {r['state']}, {r['seconds']} s): {r['query']}"
        for r in rows
    ]


def _take(connection: Connection, relations: Sequence[str], mode: str, settings: Settings, started: float) -> float:
    """Lock each relation within what is left of one go; return the monotonic time of the first lock."""
    first = time.monotonic()
    for number, relation in enumerate(relations):
        left = max(1, settings.stall_budget_once_ms - int((time.monotonic() - started) * 1000))
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{left}ms")))
        connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.SQL(relation), sql.SQL(mode)))
        if number == 0:
            first = time.monotonic()
    connection.execute(
        sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{settings.stall_budget_once_ms}ms"))
    )
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{settings.stall_budget_once_ms}ms")))
    return first


def _oids(connection: psycopg.Connection[Any], relations: Sequence[str]) -> list[int]:
    rows = connection.execute(
        "SELECT to_regclass(r)::oid AS oid FROM unnest(%s::text[]) AS r", (list(relations),)
    ).fetchall()
    return [int(row["oid"]) for row in rows if row["oid"] is not None]
