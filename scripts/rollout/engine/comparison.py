"""Comparing authority and shadow: every key range in one snapshot, then only what was written since.

Both sides stand in one database and the sync runs in the writer's own transaction, so one statement sees both at the
same instant: a difference is a difference, never a write in flight. A range is compared by count and by an order-independent
sum of row hashes, through the mapping and in the direction of the sync; only a range that differs is compared row by row.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from psycopg import Cursor

from rollout.engine import ledger
from rollout.engine.chunks import Report
from rollout.engine.chunksize import ChunkSize
from rollout.engine.ledger import Connection, Fence
from rollout.engine.rewrite.shape import Side
from rollout.engine.rewrite.statements import Statements
from rollout.environment import Settings
from rollout.errors import Failed

DIFFERENCES_MAX = 20
DIRTY_UNDER_LOCK_MAX = 200
FIRST_RANGE, LARGEST_RANGE = 5_000, 100_000
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

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {"rows": self.rows, "seconds": round(self.seconds, 3), "differing": self.differing[:DIFFERENCES_MAX]}


def full(
    connection: Connection, statements: Statements, settings: Settings, report: Report, *, reverse: bool
) -> Compared:
    """Compare everything, range by range, each in its own short read-only transaction; `reverse`: the target is the authority."""
    result, started = Compared(), time.monotonic()
    for side in statements.shape.sides:
        size, after = ChunkSize(settings.chunk_target_ms, first=FIRST_RANGE, largest=LARGEST_RANGE), None
        ranges = _Ranges(connection, statements, side, reverse=reverse)
        rows_of_side = 0
        while True:
            range_started = time.monotonic()
            until, rows, differing = ranges.next(after, size.limit)
            rows_of_side += rows
            result.rows += rows
            result.differing += [f"{side.source_name}: {key}" for key in differing][
                : DIFFERENCES_MAX - len(result.differing)
            ]
            report(f"compare_{side.source_name}", rows_of_side, result.rows / max(time.monotonic() - started, 1e-6))
            if until is None:
                break
            after = until
            size.took(time.monotonic() - range_started)
    result.seconds = time.monotonic() - started
    return result


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


class _Ranges:
    """The comparison of one source, range by range; its statements are written once."""

    def __init__(self, connection: Connection, statements: Statements, side: Side, *, reverse: bool) -> None:
        self._connection = connection
        self._query = cache(
            lambda what, after, until: statements.compare(side, what, reverse=reverse, after=after, until=until).encode()
        )

    def next(self, after: str | None, limit: int) -> tuple[str | None, int, list[str]]:
        """Return the last key of the range behind `after` (None: it was the last one), its rows and the keys that differ."""
        begun = after is not None
        values: dict[str, Any] = {"after": after, "limit": limit, "most": DIFFERENCES_MAX}
        row = self._ask("bound", begun, False, values).fetchone()
        values["until"] = until = str(row["until"]) if row else None
        row = self._ask("digest", begun, until is not None, values).fetchone()
        assert row is not None
        if row["equal"]:
            return until, int(row["rows"]), []
        found = self._ask("range", begun, until is not None, values).fetchall()
        return until, int(row["rows"]), [str(r["key"]) for r in found]

    def _ask(self, what: str, after: bool, until: bool, values: dict[str, Any]) -> Cursor[dict[str, Any]]:
        return self._connection.execute(self._query(what, after, until), values, prepare=False)
