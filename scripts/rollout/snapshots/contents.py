"""What a database holds, read in one transaction: a digest of every table, every sequence and every catalogue
object."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from rollout.environment import Database
from rollout.errors import Failed, Refused
from rollout.snapshots.records import Contents, Progress, SequenceRange, TableDigest

SQL = Path(__file__).parent / "sql"
NOT_OF_THE_DATA = {"08", "53", "57", "58"}  # SQLSTATE classes: connection, resources, operator, the system
Connection = psycopg.Connection[tuple[Any, ...]]
_TEXT_CAST = re.compile(r"::(?:character varying(?:\(\d+\))?|text)(?:\[\])?")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_LOOSE_PARENTHESES = re.compile(r"(?<![\w\0)])\((\0\d+\0|\w+|ARRAY\[[^\[\]()]*\])\)")


def statement(name: str) -> sql.SQL:
    """Return one of the package's SQL files, to be composed or run."""
    return sql.SQL((SQL / f"{name}.sql").read_text())


@contextmanager
def reading(database: Database) -> Iterator[Connection]:
    """Yield a connection inside one REPEATABLE READ READ ONLY transaction, with settings that make two servers print
    alike."""
    try:
        connection: Connection = psycopg.connect(database.conninfo("rollout-snapshot"), autocommit=True)
    except psycopg.OperationalError as error:
        raise Failed(
            f"{database.host} does not answer: {str(error).strip().splitlines()[-1]}",
            next="invoke sandbox.status",
            verdict="inconclusive",
        ) from None
    with connection:
        try:
            connection.execute(statement("session"))
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
        except psycopg.Error as error:
            raise Failed(
                f"{database.host} could not be read: "
                f"{error.diag.message_primary or (str(error).strip() or 'no answer').splitlines()[0]}"
                f" (SQLSTATE {error.sqlstate or 'none'})",
                next="remove the cause, then run the same command",
                verdict="inconclusive" if (error.sqlstate or "08")[:2] in NOT_OF_THE_DATA else "fail",
            ) from error


def read(connection: Connection, dump: Callable[[], None], progress: Progress) -> Contents:
    """Return the contents in the connection's snapshot; `dump` is waited for between the two readings of the
    sequences."""
    before = _sequences(connection)
    tables = dict(_tables(connection, progress))
    objects = {
        str(identity): hashlib.sha256(canonical(str(identity), str(definition)).encode()).hexdigest()[:32]
        for identity, definition in connection.execute(statement("objects"))
    }
    dump()
    after = _sequences(connection)
    sequences = {
        name: SequenceRange(before=value, after=after.get(name, (value, 1))[0], increment=increment)
        for name, (value, increment) in before.items()
    }
    return Contents(tables=tables, sequences=sequences, objects=objects)


def canonical(identity: str, definition: str) -> str:
    """Return a definition in the form that survives a dump and a restore.

    Postgres prints `status IN (...)` over a varchar one way when first written and another after it was read back:
    casts between varchar and text move about, with parentheses around single terms. Both go; those that group AND and
    OR stay.
    """
    if identity.startswith("routine "):
        return definition
    quoted = _QUOTED.findall(definition)
    numbers = iter(range(len(quoted)))
    previous, text = "", _TEXT_CAST.sub("", _QUOTED.sub(lambda _: f"\0{next(numbers)}\0", definition))
    while text != previous:
        previous, text = text, _LOOSE_PARENTHESES.sub(r"\1", text)
    return re.sub(r"\0(\d+)\0", lambda found: str(quoted[int(found[1])]), text)


def _tables(connection: Connection, progress: Progress) -> Iterator[tuple[str, TableDigest]]:
    found = connection.execute(statement("tables")).fetchall()
    hidden = [f"{schema}.{name}" for schema, name, is_hidden in found if is_hidden]
    if hidden:
        raise Refused(
            f"row security is forced on "
            f"{', '.join(hidden[:5])}{' and more' if hidden[5:] else ''}: rows would be missing",
            limit="the runner's role sees every row",
            next="ALTER ROLE penguin_rollout BYPASSRLS, as a superuser",
        )
    for number, (schema, name, _) in enumerate(found):
        progress(f"digest {schema}.{name}", number, len(found))
        query = statement("table_digest").format(table=sql.Identifier(schema, name))
        row = connection.execute(query).fetchone()
        assert row is not None
        yield f"{schema}.{name}", TableDigest(rows=row[0], sums=(int(row[1]), int(row[2])))


def _sequences(connection: Connection) -> dict[str, tuple[int, int]]:
    found = connection.execute(statement("sequences")).fetchall()
    if not found:
        return {}
    values = sql.SQL(" UNION ALL ").join(
        statement("sequence_value").format(
            name=sql.Literal(f"{schema}.{name}"),
            increment=sql.Literal(increment),
            sequence=sql.Identifier(schema, name),
        )
        for schema, name, increment in found
    )
    steps = {f"{schema}.{name}": increment for schema, name, increment in found}
    return {name: (int(value), steps[name]) for name, value in connection.execute(values)}
