"""Concurrent index builds: an invalid leftover is dropped and built again, and the result is checked.

CREATE INDEX CONCURRENTLY takes SHARE UPDATE EXCLUSIVE, which no reader or writer waits for, so it may wait long for
its own turn; but whatever interrupts it leaves an invalid index that IF NOT EXISTS would accept (pitfall 5 of the field).
"""

from __future__ import annotations

import re
import time

from psycopg import sql

from rollout.engine import ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection, Fence
from rollout.errors import Failed, Refused

NAME = re.compile(
    r"INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)\s+ON\s+(?:ONLY\s+)?(?:(\w+)\.)?\w+", re.IGNORECASE
)
LOCK_TIMEOUT = "60s"
OTHER_BUILD_SECONDS = 120.0
OTHER_BUILD = (
    "SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(%s) AND pid <> pg_backend_pid()"
)
VALID = "SELECT i.indisvalid AS valid FROM pg_index AS i WHERE i.indexrelid = to_regclass(%s)"


def build(connection: Connection, change: Change, file: str, fence: Fence) -> list[str]:
    """Build each index of a file outside a transaction; return their names. Raises as `build_each`."""
    named = []
    for statement in change.statements(file):
        found = NAME.search(statement.decode())
        if not found:
            raise Failed(
                f"{change.name}/{file}.sql: a statement is no CREATE INDEX CONCURRENTLY",
                next="move it to another stage",
            )
        named.append((f"{found.group(2) or 'public'}.{found.group(1)}", statement))
    return build_each(connection, named, fence)


def build_each(connection: Connection, named: list[tuple[str, bytes]], fence: Fence) -> list[str]:
    """Build indexes, each given by its qualified, quoted name and its statement, unless it stands valid; return their names.

    Raises Failed when one stays invalid, Refused when somebody (an earlier runner of ours, say) is building it now, and
    Fenced when another runner took over.
    """
    for name, statement in named:
        ledger.check(connection, fence)
        _await_other_build(connection, name)
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
        try:
            row = connection.execute(VALID, (name,)).fetchone()
            if row and not row["valid"]:
                connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.SQL(name)))
            connection.execute(statement)
        finally:
            connection.execute("SET lock_timeout = 0")
        row = connection.execute(VALID, (name,)).fetchone()
        if not row or not row["valid"]:
            raise Failed(
                f"index {name} is not valid after its build", next="repeat the command: it is dropped and built again"
            )
    return [name for name, _ in named]


def _await_other_build(connection: Connection, name: str) -> None:
    """Wait until nobody else builds the index: the server goes on with a build whose runner was killed, and until it ends
    the index reads as invalid without being a leftover."""
    deadline = time.monotonic() + OTHER_BUILD_SECONDS
    while row := connection.execute(OTHER_BUILD, (name,)).fetchone():
        if time.monotonic() > deadline:
            raise Refused(
                f"index {name} is being built by pid {row['pid']}",
                limit=f"{OTHER_BUILD_SECONDS:g} s of waiting",
                next="repeat the command once that build has ended",
            )
        time.sleep(0.2)
