"""Partitions of the log, made ahead: by every deploy, and by `invoke audit.partitions` from a timer."""

from __future__ import annotations

import psycopg

from rollout.engine.ledger import Connection
from rollout.errors import Refused

LOCK_MS = 2_000  # only who reads the log as a whole waits behind us
AHEAD_MONTHS = 3
NET = "SELECT count(*) AS rows FROM audit.log_default"


def make(connection: Connection, ahead: int = AHEAD_MONTHS) -> list[str]:
    """Make this month's partition and some ahead, where they are missing; return their names.

    Also places a log that was restored into another cluster behind what it holds (audit.settle), which is to happen before its
    first writer. Raises Refused while a long reader of the log is in the way.
    """
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_MS}ms",))
        try:
            connection.execute("SELECT audit.settle()")
            rows = connection.execute("SELECT audit.make_partitions(%s) AS name", (ahead,)).fetchall()
            return [str(row["name"]) for row in rows]
        except psycopg.errors.LockNotAvailable:
            raise Refused("a reader of the audit log is in the way of its next partition", limit=f"{LOCK_MS} ms",
                          next="repeat the command", page="runbooks/audit.md#partitions") from None  # fmt: skip


def netted(connection: Connection) -> int:
    """Return how many rows fell into the default partition, because no month's partition was there."""
    row = connection.execute(NET).fetchone()
    return int(row["rows"]) if row else 0
