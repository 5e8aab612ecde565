"""A connection to a server beside its databases, from which they are renamed and labelled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from rollout.environment import Database
from rollout.errors import Failed
from rollout.snapshots.label import Connection

MAINTENANCE = "postgres"


@contextmanager
def administering(database: Database) -> Iterator[Connection]:
    """Yield an autocommit connection to the maintenance database of a server; raise Failed when it does not answer, or ends."""
    with inside(database.model_copy(update={"dbname": MAINTENANCE})) as connection:
        yield connection


@contextmanager
def inside(database: Database) -> Iterator[Connection]:
    """Yield an autocommit connection to a database itself; raise Failed when its server does not answer, or ends."""
    try:
        connection: Connection = psycopg.connect(database.conninfo("rollout-restore"), autocommit=True)
    except psycopg.OperationalError as error:
        raise _gone(database, error) from None
    try:
        with connection:
            yield connection
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if not connection.broken:  # a refused act is the caller's to explain
            raise
        raise _gone(database, error) from None


def _gone(database: Database, error: psycopg.Error) -> Failed:
    words = (str(error).strip() or "the connection ended").splitlines()[-1]
    next_act = "bring it up, then give the same command again"
    return Failed(f"{database.host} does not answer: {words}", next=next_act, verdict="inconclusive")
