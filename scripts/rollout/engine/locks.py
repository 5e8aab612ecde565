"""Strong locks: asked for briefly, once nobody stands in the way, within a stall budget.

A waiting ACCESS EXCLUSIVE makes every later statement on the table wait too, so what counts is not only how long we
hold a lock but how long we ask for it, and how long clients were really made to wait behind us (`Stalls`). When the
budget is spent the change stops, safely. Before asking we look who is in the way, and wait for them without asking:

- clients' long transactions, prepared transactions, other DDL, our own earlier sessions: until they are gone, or a deadline;
- a plain autovacuum yields to who has waited for deadlock_timeout: asked once, for a little longer, where the stall budget
  allows that much or the role may lower deadlock_timeout for itself; else waited for;
- a vacuum against wraparound never yields, so it is never asked.

Nobody is ended unless `terminate_blockers` says so, and then only after the wait, and only kinds in `blockers.ENDABLE`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from psycopg import errors, sql

from rollout.engine.ledger import Connection
from rollout.engine.stalls import Stalls
from rollout.engine.waiters import Watch
from rollout.engine.way import Go, Way
from rollout.environment import Settings

__all__ = ["Stalls", "limit", "with_locks"]

T = TypeVar("T")
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 2.0
GIVES_WAY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


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
    backoff. Raises Refused, naming who is in the way, when the attempts or the stall budget are spent, or when
    those in the way outstay `blocker_wait_max_seconds`.
    """
    way = Way(connection, relations, mode, settings, stalls)
    with Watch(connection) as watch:
        for attempt in range(settings.lock_attempts_max):
            if attempt:
                delay = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2**attempt)
                time.sleep(delay * random.uniform(0.5, 1.0))
            go = way.clear()
            if go is None:
                break
            held_since = 0.0
            started = stalls.began = time.monotonic()
            watch.begin()
            try:
                with connection.transaction():
                    held_since = _take(connection, relations, mode, go, settings, started)
                    result = work()
            except BaseException as error:
                stalls.add(started, watch.end())
                if not isinstance(error, GIVES_WAY):
                    raise
                way.refused(error, locked=held_since > 0)
                if stalls.stalled_ms >= settings.stall_budget_total_ms:
                    break
            else:
                waits, stalls.held_ms = watch.end(), (time.monotonic() - held_since) * 1000
                stalls.add(started, waits)
                return result
    raise way.refusal()


def limit(connection: Connection, settings: Settings, stalls: Stalls) -> None:
    """Let the next statements of this attempt take no longer each than what is left of one go."""
    left = max(1, settings.stall_budget_once_ms - int((time.monotonic() - stalls.began) * 1000))
    connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{left}ms")))


def _take(
    connection: Connection, relations: Sequence[str], mode: str, go: Go, settings: Settings, started: float
) -> float:
    """Lock each relation within what is left of one go; return the monotonic time of the first lock."""
    first = time.monotonic()
    if go.deadlock_timeout_ms is not None:
        _set(connection, "deadlock_timeout", go.deadlock_timeout_ms)
    for number, relation in enumerate(relations):
        _set(connection, "lock_timeout", max(1, go.once_ms - int((time.monotonic() - started) * 1000)))
        connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.SQL(relation), sql.SQL(mode)))
        if number == 0:
            first = time.monotonic()
    _set(connection, "statement_timeout", settings.stall_budget_once_ms)
    _set(connection, "lock_timeout", settings.stall_budget_once_ms)
    return first


def _set(connection: Connection, name: str, milliseconds: int) -> None:
    connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(f"{milliseconds}ms")))
