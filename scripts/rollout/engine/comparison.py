"""Comparing authority and shadow: every key range in one snapshot, then only what was written since.

Both sides stand in one database and the sync runs in the writer's own transaction, so one statement sees both at the
same instant: a difference is a difference, never a write in flight. A compare file is one statement: it takes %(after)s,
%(limit)s and %(keys)s (text[] or NULL: compare only these) and returns last_key (NULL: the end), the number of rows, and
the differing keys (bounded). The old side is named without a schema: public before the swap, v1 after it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rollout.engine import ledger
from rollout.engine.changes import Change
from rollout.engine.chunks import ChunkSize, Report
from rollout.engine.ledger import Connection, Fence
from rollout.environment import Settings
from rollout.errors import Failed

DIFFERENCES_MAX = 20
DIRTY_UNDER_LOCK_MAX = 500
LEFT = "SELECT count(*) AS n FROM (SELECT FROM rollout.dirty WHERE change = %s LIMIT %s) AS notes"
DIRTY_BATCH = 5_000
DIRTY_PASSES_MAX = 10_000
TAKE_DIRTY = """
DELETE FROM rollout.dirty WHERE id IN (
    SELECT id FROM rollout.dirty WHERE change = %s AND relation = %s LIMIT %s
) RETURNING key
"""


@dataclass
class Compared:
    """What was compared: rows (of the authority, ranges of all works) and the keys that differ, bounded."""

    rows: int = 0
    seconds: float = 0.0
    differing: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {"rows": self.rows, "seconds": round(self.seconds, 3), "differing": self.differing[:DIFFERENCES_MAX]}


def full(
    connection: Connection, change: Change, settings: Settings, report: Report, *, old_schema: str = "public"
) -> Compared:
    """Compare everything, range by range, each in its own short read-only transaction."""
    result, started = Compared(), time.monotonic()
    for work in change.works("compare"):
        size, after = ChunkSize(settings.chunk_target_ms), None
        rows_of_work = 0
        while True:
            chunk_started = time.monotonic()
            after, rows, differing = _range(connection, change, work, after, size.limit, None, old_schema)
            rows_of_work += rows
            result.rows += rows
            result.differing += [f"{work}: {key}" for key in differing][: DIFFERENCES_MAX - len(result.differing)]
            report(work, rows_of_work, result.rows / max(time.monotonic() - started, 1e-6))
            if after is None:
                break
            size.took(time.monotonic() - chunk_started)
    result.seconds = time.monotonic() - started
    return result


def dirty(connection: Connection, change: Change, most: int) -> Compared:
    """Compare at most `most` of the writes noted since the last comparison, in the caller's transaction."""
    result, started = Compared(), time.monotonic()
    for work in change.works("compare"):
        taken = connection.execute(TAKE_DIRTY, (change.name, source_of(work), most)).fetchall()
        keys = sorted({str(row["key"]) for row in taken})
        if keys:
            _, count, differing = _range(connection, change, work, None, len(keys), keys, "public")
            result.rows += count
            result.differing += [f"{work}: {key}" for key in differing]
    result.seconds = time.monotonic() - started
    return result


def left(connection: Connection, change: Change, most: int) -> int:
    """Return how many notes are left to compare, counting no further than `most`."""
    row = connection.execute(LEFT, (change.name, most)).fetchone()
    return int(row["n"]) if row else 0


def shrink_dirty(connection: Connection, change: Change, fence: Fence) -> Compared:
    """Compare dirty keys without a lock until few are left, so that little is left to do under the swap's lock."""
    total = Compared()
    for _ in range(DIRTY_PASSES_MAX):
        if left(connection, change, DIRTY_UNDER_LOCK_MAX + 1) <= DIRTY_UNDER_LOCK_MAX:
            return total
        with connection.transaction():
            ledger.check(connection, fence)
            one = dirty(connection, change, DIRTY_BATCH)
        total.rows, total.differing = total.rows + one.rows, total.differing + one.differing
        if total.differing:
            return total
    raise Failed(
        f"{change.name}: writes come faster than they are compared", next="repeat the command when the load is lower"
    )


def source_of(work: str) -> str:
    """Return the relation that a work such as compare_1_jobs is about."""
    return work.split("_", 2)[2]


def _range(
    connection: Connection,
    change: Change,
    work: str,
    after: str | None,
    limit: int,
    keys: list[str] | None,
    old_schema: str,
) -> tuple[str | None, int, list[str]]:
    with connection.transaction():
        connection.execute("SELECT set_config('search_path', %s, true)", (f"{old_schema}, pg_temp",))
        values = {"after": after, "limit": limit, "keys": keys}
        row = connection.execute(change.sql(work) or b"", values, prepare=False).fetchone()
        connection.execute("SELECT set_config('search_path', 'public', true)")
    last_key, rows, differing = tuple((row or {}).values())[:3]
    return last_key, int(rows), [str(key) for key in differing]
