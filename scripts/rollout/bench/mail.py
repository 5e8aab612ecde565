"""The product's content database at a size: the seed's rows and indexes, with bodies and attachments as dense as real mail's."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psycopg
from psycopg import sql

from rollout import seed
from rollout.bench.data import statement
from rollout.bench.prose import Writer
from rollout.environment import Database
from rollout.seed import database as seeding
from rollout.seed.shape import Shape
from rollout.seed.statements import statements, text

SEED = 1
CHUNK_ROWS = 5000
WRITERS = 2
EMPTY_BYTES = 9_700_000  # of a database that has only the schema
SCALE_BYTES = 386_000_000  # of what a scale of 1 adds, as measured
SCALE_LEAST = 0.001
SAMPLE_ROWS = 4000
LARGE = ("email_content", "attachments", "email_messages", "content_inbox_message_refs")


def fill(database: Database, gigabytes: float, say: Callable[[str], None] = lambda _: None) -> int:
    """Make the tables of the content tier in an empty database, some `gigabytes` in all (10^9 bytes, indexes included).

    Returns the bytes that it has then. The role `penguin_app` has to exist. Deterministic: the same rows for the same size.
    """
    rows = seed.shape(max(SCALE_LEAST, (gigabytes * 1e9 - EMPTY_BYTES) / SCALE_BYTES), SEED)
    seed.baseline(database)
    bounds = [(low, min(low + CHUNK_ROWS, rows.contents)) for low in range(0, rows.contents, CHUNK_ROWS)]
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        for written in pool.map(_bodies, [(database.conninfo("bench"), rows, chunks) for chunks in _dealt(bounds)]):
            say(f"  {written:,} bodies written")
    with psycopg.connect(database.conninfo("bench"), autocommit=True) as connection:
        _prepare(connection, rows)
        objects = next(s.text for s in statements("content") if s.table == "content_objects")
        for query in (objects.encode(), statement("mail_attachments")):
            connection.execute(query, {**rows.numbers(), "low": 0, "high": rows.content_objects - 1})
        seeding.fill(connection, "content", rows, lambda _: None)  # what stands already is left alone
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def gzip_ratio(database: Database) -> float:
    """Return by what factor gzip -6 shrinks the rows of the largest tables as pg_dump prints them; measured of a sample."""
    packed, raw, shrunk = zlib.compressobj(6), 0, 0
    with psycopg.connect(database.conninfo("bench"), autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM email_content").fetchone()
        assert row is not None
        share = sql.Literal(min(100.0, 100.0 * SAMPLE_ROWS / max(1, int(row[0]))))
        for table in LARGE:
            query = sql.SQL("COPY (SELECT * FROM {} TABLESAMPLE BERNOULLI ({}) REPEATABLE (1)) TO STDOUT")
            with connection.cursor().copy(query.format(sql.Identifier(table), share)) as copy:
                for block in copy:
                    raw += len(block)
                    shrunk += len(packed.compress(block))
    return round(raw / (shrunk + len(packed.flush())), 2)


def _dealt(bounds: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    return [bounds[n::WRITERS] for n in range(WRITERS)]


def _bodies(given: tuple[str, Shape, list[tuple[int, int]]]) -> int:
    """Write the bodies of some ranges, in a process of its own; return how many."""
    conninfo, rows, chunks = given
    writer = Writer(SEED)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        _prepare(connection, rows)
        connection.execute("CREATE TEMPORARY TABLE body (n bigint, body text)")
        for low, high in chunks:
            with connection.transaction():
                with connection.cursor().copy("COPY body FROM STDIN") as copy:
                    for n in range(low, high):
                        copy.write_row((n, writer.body(n)))
                connection.execute(statement("mail_bodies"))
                connection.execute("TRUNCATE body")
    return sum(high - low for low, high in chunks)


def _prepare(connection: psycopg.Connection[Any], rows: Shape) -> None:
    """Give the session the seed's functions, and the settings that its instants depend on."""
    connection.execute("SET timezone = 'UTC'")
    connection.execute("SET synchronous_commit = off")
    literals = {name: sql.Literal(value) for name, value in rows.numbers().items()}
    connection.execute(sql.SQL(text("functions")).format(**literals))
