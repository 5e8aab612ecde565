"""A second connection beside the one at work: it looks on while the first one waits, locks or copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from rollout.engine import ledger
from rollout.engine.ledger import Connection

SQL = Path(__file__).parent / "sql"
STATEMENT_TIMEOUT_MS = 2_000  # who looks on must not become a long transaction itself


def statement(name: str) -> bytes:
    """Return the text of `sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_bytes()


def another(connection: psycopg.Connection[Any], suffix: str) -> Connection:
    """Return a new connection that does the same work as the first one: as `ledger.connect` makes it; raise psycopg.Error."""
    second = beside(connection, suffix)
    ledger.speak_plainly(second)
    return second


def beside(connection: psycopg.Connection[Any], suffix: str) -> Connection:
    """Return a new connection to the same database as the same role, named after the first one; raise psycopg.Error.

    It commits every statement by itself and gives each at most STATEMENT_TIMEOUT_MS.
    """
    first = connection.info
    parameters = first.get_parameters() | {"connect_timeout": "5"}
    parameters["application_name"] = f"{parameters.get('application_name', 'rollout')}-{suffix}"
    if first.password:
        parameters["password"] = first.password
    second = psycopg.connect(make_conninfo("", **parameters), autocommit=True, row_factory=dict_row)
    second.execute("SELECT set_config('statement_timeout', %s, false)", (f"{STATEMENT_TIMEOUT_MS}ms",))
    return second
