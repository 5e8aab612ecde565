"""What an audit log says of itself: which one it is, its blocks, its rows' leaves, its unsealed tail."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from rollout.audit.chain import START, Block, Leaf, Place
from rollout.engine.ledger import Connection

SQL = Path(__file__).with_name("sql")
COLUMNS = b"number, until_xact, until_id, leaves, prev, hash, sealed_at"
STEP = 2000  # rows fetched at a time


class Tail(NamedTuple):
    """The unsealed rows of a log: how many, and the age of the oldest in seconds."""

    rows: int
    oldest_seconds: float


class Sealed(NamedTuple):
    """A row in the order of the log."""

    place: Place
    leaf: Leaf


def there(connection: Connection) -> bool:
    """Tell whether this database has an audit log with a chain."""
    row = connection.execute("SELECT to_regclass('audit.blocks') IS NOT NULL AS found").fetchone()
    return bool(row and row["found"])


def identity(connection: Connection) -> tuple[UUID, int]:
    """Return the log's id, and what is added to a transaction's number for its place."""
    row = connection.execute("SELECT log, shift FROM audit.chain").fetchone()
    assert row is not None
    return row["log"], int(row["shift"])


def last_block(connection: Connection) -> Block | None:
    """Return the newest block, or None."""
    row = connection.execute(b"SELECT " + COLUMNS + b" FROM audit.blocks ORDER BY number DESC LIMIT 1").fetchone()
    return _block(row) if row else None


def blocks(connection: Connection, after: int, limit: int) -> list[Block]:
    """Return some blocks with higher numbers, in order."""
    query = b"SELECT " + COLUMNS + b" FROM audit.blocks WHERE number > %s ORDER BY number LIMIT %s"
    return [_block(row) for row in connection.execute(query, (after, limit)).fetchall()]


def leaves(connection: Connection, after: Place, until: Place, limit: int | None = None) -> Generator[Sealed]:
    """Yield rows behind one place up to another, in order, few at a time; to be called in a transaction."""
    values = {"after_xact": after.xact, "after_id": after.id, "until_xact": until.xact, "until_id": until.id, "limit": limit}
    with psycopg.ServerCursor(connection, "audit_leaves") as cursor:
        cursor.itersize = STEP
        cursor.execute((SQL / "leaves.sql").read_bytes(), values)
        for row in cursor:
            found: Any = row
            yield Sealed(Place(found["xact"], found["id"]), Leaf(found["id"], found["sha256"]))


def tail(connection: Connection) -> Tail:
    """Return what is not sealed now."""
    last = last_block(connection)
    place = last.until if last else START
    row = connection.execute((SQL / "tail.sql").read_bytes(), place._asdict()).fetchone()
    assert row is not None
    return Tail(int(row["rows"]), round(float(row["oldest_seconds"]), 1))


def _block(row: dict[str, Any]) -> Block:
    return Block(
        row["number"], Place(row["until_xact"], row["until_id"]), row["leaves"], row["prev"], row["hash"], row["sealed_at"]
    )
