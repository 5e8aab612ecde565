"""The ranges of a comparison: bounds from a sample of the keys, both sides at one instant, at the same time where two can be.

A bound need not be exact: ranges follow one another without a gap whatever it is, and only how long one takes depends on it.
Counting rows off in the index costs as much as a fifth of comparing them; a sample of a hundredth of the pages costs nothing.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor
from functools import cache
from typing import Any

from psycopg import sql

from rollout.engine.companion import statement
from rollout.engine.ledger import Connection
from rollout.engine.rewrite.shape import Side
from rollout.engine.rewrite.statements import Statements

DIFFERENCES_MAX = 20
STEP_ROWS = 10_000  # between two sampled bounds, about: a range is some of these steps
STEP_ROWS_MAX = (
    100_000  # of a table so large that STEPS_MAX do not reach; of one larger than that the rows are counted off
)
STEP_PAGES = 10  # sampled for each step: they stand close enough to its tenths for ranges to be of like size
STEPS_MAX = 2_000
ONE_INSTANT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class Ranges:
    """The comparison of one source, range by range; its statements are written once."""

    def __init__(
        self, connection: Connection, statements: Statements, side: Side, *, reverse: bool,
        beside: tuple[Connection, Executor] | None = None,
    ) -> None:  # fmt: skip
        """`reverse`: the target is the authority. `beside`: a second connection, and a thread for it."""
        self._connection, self._beside = connection, beside
        self._query = cache(
            lambda what, after, until: statements.compare(
                side, what, reverse=reverse, after=after, until=until
            ).encode()
        )
        authority = statements.shape.target if reverse else side.relation
        self._step, keys = sample(connection, self._query("sample", False, False), authority)
        self._bounds = deque(keys)

    def next(self, after: str | None, limit: int, *, together: bool) -> tuple[str | None, int, list[str]]:
        """Compare about `limit` rows behind `after`, read in one snapshot; `together`: its sides at the same time.

        Return its last key (None: it was the last range), how many rows of the authority it has, and the keys that differ.
        """
        with self._connection.transaction():
            self._connection.execute(ONE_INSTANT)
            until = self._until(after, limit)
            values: dict[str, Any] = {"after": after, "until": until, "most": DIFFERENCES_MAX}
            queries = [
                self._query(what, after is not None, until is not None) for what in ("authority", "shadow", "range")
            ]
            if self._beside and together:
                other, executor = self._beside
                name = _one(self._connection, b"SELECT pg_export_snapshot() AS name", {})["name"]
                started = executor.submit(_at, other, name, queries[1], values)
                try:
                    authority = _one(self._connection, queries[0], values)
                finally:
                    shadow = started.result()
            else:
                authority, shadow = (_one(self._connection, query, values) for query in queries[:2])
            if authority == shadow:
                return until, int(authority["rows"]), []
            found = self._connection.execute(queries[2], values, prepare=False).fetchall()
        return until, int(authority["rows"]), [str(row["key"]) for row in found]

    def _until(self, after: str | None, limit: int) -> str | None:
        """Return where a range of about so many rows ends, None for the last one."""
        bound = None
        for _ in range(min(len(self._bounds), max(1, limit // self._step))):
            bound = self._bounds.popleft()
        if bound is not None:
            return bound
        # Behind the sample: what was written since, and tables that have none.
        row = self._connection.execute(
            self._query("bound", after is not None, False), {"after": after, "limit": limit}, prepare=False
        ).fetchone()
        return str(row["until"]) if row else None


def sample(connection: Connection, query: bytes, relation: str) -> tuple[int, list[str]]:
    """Return how many rows lie between two bounds, about, and the bounds; none of a table of a few steps or unknown size.

    `query`: `sample` of compare.sql.j2.
    """
    size = _one(connection, statement("table_size"), {"relation": relation})
    rows, pages = int(size["rows"] or 0), int(size["pages"] or 0)
    step = max(STEP_ROWS, rows // STEPS_MAX)
    if rows < 2 * STEP_ROWS or step > STEP_ROWS_MAX or not pages:
        return step, []
    share = min(1.0, rows / step * STEP_PAGES / pages)
    values = {"percent": 100 * share, "every": max(1, round(step * share))}
    return step, [str(row["key"]) for row in connection.execute(query, values, prepare=False).fetchall()]


def _one(connection: Connection, query: bytes, values: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(query, values, prepare=False).fetchone()
    assert row is not None
    return row


def _at(connection: Connection, snapshot: str, query: bytes, values: dict[str, Any]) -> dict[str, Any]:
    """Ask in another session's snapshot."""
    with connection.transaction():
        connection.execute(ONE_INSTANT)
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        return _one(connection, query, values)
