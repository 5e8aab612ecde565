"""Concurrent index builds: an invalid leftover is dropped and built again, and the result is checked.

CREATE INDEX CONCURRENTLY takes SHARE UPDATE EXCLUSIVE, which no reader or writer waits for, so it may wait long for
its own turn; but whatever interrupts it leaves an invalid index that IF NOT EXISTS would accept (pitfall 5 of the field).
"""

from __future__ import annotations

import re

from psycopg import sql

from rollout.engine.changes import Change
from rollout.engine.ledger import Connection
from rollout.errors import Failed

NAME = re.compile(
    r"INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)\s+ON\s+(?:ONLY\s+)?(?:(\w+)\.)?\w+", re.IGNORECASE
)
LOCK_TIMEOUT = "60s"
VALID = "SELECT i.indisvalid AS valid FROM pg_index AS i WHERE i.indexrelid = to_regclass(%s)"


def build(connection: Connection, change: Change, file: str) -> list[str]:
    """Build each index of a file outside a transaction; return their names. Raises Failed when one stays invalid."""
    built = []
    for statement in change.statements(file):
        found = NAME.search(statement.decode())
        if not found:
            raise Failed(
                f"{change.name}/{file}.sql: a statement is no CREATE INDEX CONCURRENTLY",
                next="move it to another stage",
            )
        name = f"{found.group(2) or 'public'}.{found.group(1)}"
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
        try:
            row = connection.execute(VALID, (name,)).fetchone()
            if row and not row["valid"]:
                connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(*name.split("."))))
            connection.execute(statement)
        finally:
            connection.execute("SET lock_timeout = 0")
        row = connection.execute(VALID, (name,)).fetchone()
        if not row or not row["valid"]:
            raise Failed(
                f"index {name} is not valid after its build", next="repeat the command: it is dropped and built again"
            )
        built.append(name)
    return built
