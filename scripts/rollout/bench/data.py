"""The table under change: seeded once for a size, given to each tool as a copy of the same files, and copied offline."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import psycopg

from rollout.bench.server import OWNER, Server

SQL = Path(__file__).with_name("sql")
# Heap and indexes of a row, twice (a copy beside the original), for the seeded database and the tool's at once.
ROW_BYTES = 500
COPIES = 4
OFFLINE_SECONDS, OFFLINE_TIMES = 15.0, 5


def statement(name: str) -> bytes:
    """Return the text of sql/<name>.sql."""
    return (SQL / f"{name}.sql").read_bytes()


def needed_bytes(rows: int) -> int:
    """Return how much disk the data of a size takes at most, WAL aside."""
    return rows * ROW_BYTES * COPIES


def seed(server: Server, dbname: str, rows: int) -> float:
    """Make a database with the table in it; return the average bytes of a row."""
    server.create(dbname)
    with server.connect(dbname, OWNER) as connection:
        connection.execute(statement("table"))
        connection.execute(statement("rows"), {"rows": rows})
        connection.execute(statement("aged"))
        connection.execute("VACUUM (FREEZE, ANALYZE) orders")
        row = connection.execute("SELECT avg(pg_column_size(o.*)) FROM orders AS o WHERE id <= 10000").fetchone()
    assert row is not None
    return round(float(row[0]), 1)


def calm(superuser: psycopg.Connection[Any]) -> None:
    """Write out what has piled up, in the server and in the machine: it is no part of what is measured next."""
    superuser.execute("CHECKPOINT")
    os.sync()


def offline(server: Server, dbname: str, rows: int, definition: str) -> float:
    """Return rows per second of one plain INSERT ... SELECT without load (the median of a few), the copy dropped again.

    `definition`: `key` (the copy has the primary key alone while it is filled) or `all` (every index).
    """
    with server.connect(dbname) as superuser, server.connect(dbname, OWNER) as connection:
        took: list[float] = []
        while not took or (sum(took) < OFFLINE_SECONDS and len(took) < OFFLINE_TIMES):
            connection.execute(statement(f"offline_{definition}"))
            calm(superuser)
            began = time.monotonic()
            connection.execute("INSERT INTO offline SELECT * FROM orders")
            took.append(time.monotonic() - began)
            connection.execute("DROP TABLE offline")
    return rows / statistics.median(took)
