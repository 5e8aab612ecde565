"""One database brought to the state as found: its schema, its rows, and the note on the database that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypedDict

import psycopg
from psycopg import sql

from rollout import environment
from rollout.errors import BadInput
from rollout.seed.shape import Shape
from rollout.seed.statements import statements, text

CHUNK_ROWS = 50_000
Connection = psycopg.Connection[tuple[object, ...]]
_HAS_TABLES = """
    select exists (select from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p'))
"""
_NOTE = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
_IDENTITIES = """
    select attrelid::regclass::text, attname::text from pg_attribute
    where attidentity <> '' and attrelid = any (%s::regclass[])
"""


class Note(TypedDict):
    """What was filled in, kept with the database that it was filled into."""

    seed: int
    scale: float
    rows: dict[str, int]


def baseline(database: environment.Database) -> bool:
    """Apply sql/<tier>/baseline.sql in one transaction; return False when the database has tables already."""
    with psycopg.connect(database.conninfo("rollout-seed")) as connection:
        if _one(connection, _HAS_TABLES):
            return False
        path = environment.ROOT / "sql" / database.tier / "baseline.sql"
        connection.execute(path.read_bytes())
    return True


def filled(connection: Connection, shape: Shape, scale: float) -> Note | None:
    """Return the note of a finished fill, None if there is none; raise BadInput if it was of another seed or scale."""
    written = str(_one(connection, _NOTE) or "")
    if not written.startswith("{"):
        return None
    note: Note = json.loads(written)
    if (note["seed"], note["scale"]) != (shape.seed, scale):
        raise BadInput(
            f"{connection.info.dbname} was seeded with seed {note['seed']}, scale {note['scale']}",
            limit=f"seed {shape.seed}, scale {scale}",
            next="invoke sandbox.down --purge, then up again",
        )
    return note


def write_note(connection: Connection, note: Note) -> None:
    """Keep the note as the comment on the database: it changes no table of the state as found."""
    statement = sql.SQL("comment on database {} is {}").format(
        sql.Identifier(connection.info.dbname), sql.Literal(json.dumps(note))
    )
    connection.execute(statement)


def fill(connection: Connection, tier: str, shape: Shape, say: Callable[[str], None]) -> dict[str, int]:
    """Write a tier's rows, one chunk a transaction; return rows by table, and counts by kind. Connection in autocommit.

    Rows that stand already are left alone, so that the same call goes on after it was killed.
    """
    numbers = shape.numbers()
    # Adding days to an instant depends on the session's time zone.
    connection.execute("set timezone = 'UTC'")
    connection.execute("set synchronous_commit = off")
    for name in ("functions", "messages") if tier == "content" else ("functions",):
        literals = {key: sql.Literal(value) for key, value in numbers.items()}
        connection.execute(sql.SQL(text(name)).format(**literals))
    if tier == "content":
        connection.execute(text("bodies").encode())  # the braces in it are a style sheet's
    tables: list[str] = []
    for statement in statements(tier):
        total = numbers[statement.count]
        tables.append(statement.table)
        for low in range(0, total, CHUNK_ROWS):
            high = min(low + CHUNK_ROWS, total) - 1
            connection.execute(statement.text, {**numbers, "low": low, "high": high})
            say(f"{tier} {statement.table} {high + 1:,} of {total:,}")
    tables += ["job_logs", "job_queues"] if tier == "queue" else []
    _advance_identities(connection, tables)
    connection.execute(sql.SQL("analyze {}").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
    connection.execute("set synchronous_commit = on")
    return _counts(connection, tier, tables, numbers)


def _advance_identities(connection: Connection, tables: list[str]) -> None:
    # The seeder states identity values, because other rows name them; the sequences have to come after.
    for table, column in connection.execute(_IDENTITIES, [tables]).fetchall():
        query = "select setval(pg_get_serial_sequence({0}, {1}), greatest(1, max({2}))) from {3}"
        named = sql.SQL(query).format(
            sql.Literal(table), sql.Literal(column), sql.Identifier(str(column)), sql.Identifier(str(table))
        )
        connection.execute(named)


def _counts(connection: Connection, tier: str, tables: list[str], numbers: dict[str, int]) -> dict[str, int]:
    each = [
        sql.SQL("select {}, count(*) from {}").format(sql.Literal(table), sql.Identifier(table)) for table in tables
    ]
    rows = connection.execute(sql.SQL(" union all ").join(each)).fetchall()
    if tier != "oltp":
        rows += connection.execute(text(f"{tier}_counts"), numbers).fetchall()
    return {f"{tier}.{kind}": int(str(n)) for kind, n in rows}


def _one(connection: Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
