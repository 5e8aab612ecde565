"""Comparing authority and shadow: every key range in one snapshot, then only what was written since.

Both sides stand in one database and the sync runs in the writer's own transaction, so one snapshot sees both at the
same instant: a difference is a difference, never a write in flight. A range is compared by count and by an order-independent
sum of row hashes, through the mapping and in the direction of the sync; only a range that differs is compared row by row.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg

from rollout.engine import ledger
from rollout.engine.chunks import Report
from rollout.engine.chunksize import ChunkSize
from rollout.engine.companion import another
from rollout.engine.ledger import Connection, Fence
from rollout.engine.pace import Pace
from rollout.engine.ranges import DIFFERENCES_MAX, Ranges
from rollout.engine.rewrite.statements import Statements
from rollout.environment import Settings
from rollout.errors import Failed

DIRTY_UNDER_LOCK_MAX = 200
FIRST_RANGE, LARGEST_RANGE = 10_000, 500_000
RANGE_CHUNKS = 3  # chunk_target_ms that a range takes: nobody waits for it, since it locks nothing
LEFT = "SELECT count(*) AS n FROM (SELECT FROM rollout.dirty WHERE change = %s LIMIT %s) AS notes"
DIRTY_BATCH = 5_000
DIRTY_PASSES_MAX = 10_000
TAKE_DIRTY = """
DELETE FROM rollout.dirty WHERE id IN (
    SELECT id FROM rollout.dirty WHERE change = %s AND relation = %s LIMIT %s
) RETURNING key
"""


TAKE_BACK = """
UPDATE rollout.rejects SET taken_back = now() WHERE id IN (
    SELECT id FROM rollout.rejects WHERE change = %s AND relation = %s AND taken_back IS NULL LIMIT %s
) RETURNING key
"""


@dataclass
class Compared:
    """What was compared: rows of the authority over all sources, and the keys that differ, bounded."""

    rows: int = 0
    seconds: float = 0.0
    differing: list[str] = field(default_factory=list)
    pace: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {"rows": self.rows, "seconds": round(self.seconds, 3), "differing": self.differing[:DIFFERENCES_MAX],
                "pace": self.pace}  # fmt: skip


def full(
    connection: Connection, statements: Statements, fence: Fence, settings: Settings, report: Report, *,
    reverse: bool, stands: bool = True,
) -> Compared:  # fmt: skip
    """Compare everything, range by range, each in its own short read-only transaction; `reverse`: the target is the authority.

    It slows down under pain as a copy does. `stands`: it stands still like one as well, for a pause or under much pain, and
    raises Fenced or Refused like one (see `Pace.wait`).
    """
    shape, result, started = statements.shape, Compared(), time.monotonic()
    relations = [*(side.old if reverse else side.relation for side in shape.sides), shape.target]
    with ExitStack() as stack:
        pace = stack.enter_context(Pace(connection, shape.change, fence, settings, relations, stands=stands))
        beside = _beside(connection, settings, stack)
        for side in shape.sides:
            size = ChunkSize(RANGE_CHUNKS * settings.chunk_target_ms, first=FIRST_RANGE, largest=LARGEST_RANGE)
            after, rows_of_side = None, 0
            ranges = Ranges(connection, statements, side, reverse=reverse, beside=beside)

            def say(note: str, name: str = side.source_name) -> None:
                busy = max(1e-6, time.monotonic() - started - pace.paused_seconds)
                report(f"compare_{name}{note}", rows_of_side, result.rows / busy)  # noqa: B023  (called in its own round)

            while True:
                pace.wait(say)
                range_started = time.monotonic()
                # What is second stands still first.
                until, rows, differing = ranges.next(after, size.limit, together=not pace.brake.why)
                seconds = time.monotonic() - range_started
                rows_of_side, result.rows = rows_of_side + rows, result.rows + rows
                result.differing += [f"{side.source_name}: {key}" for key in differing][
                    : DIFFERENCES_MAX - len(result.differing)
                ]
                say(pace.note)
                if until is None:
                    break
                after = until
                size.took(seconds)
                pace.rest(seconds)
        result.pace = pace.to_dict()
    result.seconds = time.monotonic() - started
    return result


def _beside(connection: Connection, settings: Settings, stack: ExitStack) -> tuple[Connection, Executor] | None:
    """Return a second connection and a thread for it, where the settings say so and the server has one left."""
    if (settings.stated("compare_connections") or 1) < 2:
        return None
    try:
        second = stack.enter_context(another(connection, "compare"))
    except psycopg.Error:
        return None
    return second, stack.enter_context(ThreadPoolExecutor(1, "compare"))


def given(statements: Statements) -> list[tuple[str, bytes]]:
    """Return, for each source, its name and what compares given keys: to be written before a lock is held."""
    sides = statements.shape.sides
    return [(side.source_name, statements.compare(side, "given", reverse=False).encode()) for side in sides]


def dirty(connection: Connection, change: str, queries: list[tuple[str, bytes]], most: int) -> Compared:
    """Compare at most `most` of the writes noted since the last comparison, in the caller's transaction.

    `queries`: see `given`.
    """
    result, started = Compared(), time.monotonic()
    # What one source's key stands for may show the row of another one: a key is compared in all of them.
    taken = [row for source, _ in queries for row in connection.execute(TAKE_DIRTY, (change, source, most)).fetchall()]
    keys = sorted({str(row["key"]) for row in taken})
    for source, query in queries if keys else []:
        found = connection.execute(query, {"keys": keys, "most": DIFFERENCES_MAX}, prepare=False).fetchall()
        result.rows += len(keys)
        result.differing += [f"{source}: {row['key']}" for row in found]
    result.seconds = time.monotonic() - started
    return result


def take_back(connection: Connection, statements: Statements, fence: Fence) -> int:
    """Make the shadow say what the authority says of each row in the reject ledger, which keeps it; return how many.

    To be called when the old tables are the authority again: what they could not hold is on the shadow alone.
    """
    change, done = statements.shape.change, 0
    for side in statements.shape.sides:
        while True:
            with connection.transaction():
                ledger.check(connection, fence)
                rows = connection.execute(TAKE_BACK, (change, side.source_name, DIRTY_BATCH)).fetchall()
                for statement in statements.resync(side) if rows else []:
                    connection.execute(statement.encode(), {"keys": [row["key"] for row in rows]}, prepare=False)
            done += len(rows)
            if not rows:
                break
    return done


def left(connection: Connection, change: str, most: int) -> int:
    """Return how many notes are left to compare, counting no further than `most`."""
    row = connection.execute(LEFT, (change, most)).fetchone()
    return int(row["n"]) if row else 0


def shrink_dirty(connection: Connection, statements: Statements, fence: Fence) -> Compared:
    """Compare dirty keys without a lock until few are left, so that little is left to do under the swap's lock."""
    total, change, queries = Compared(), statements.shape.change, given(statements)
    for _ in range(DIRTY_PASSES_MAX):
        if left(connection, change, DIRTY_UNDER_LOCK_MAX + 1) <= DIRTY_UNDER_LOCK_MAX:
            return total
        with connection.transaction():
            ledger.check(connection, fence)
            one = dirty(connection, change, queries, DIRTY_BATCH)
        total.rows, total.differing = total.rows + one.rows, total.differing + one.differing
        if total.differing:
            return total
    raise Failed(
        f"{change}: writes come faster than they are compared", next="repeat the command when the load is lower"
    )


def source_of(work: str) -> str:
    """Return the relation that a work such as copy_public.jobs or compare_public.jobs is about."""
    return work.partition("_")[2]
