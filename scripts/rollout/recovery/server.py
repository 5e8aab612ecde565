"""A server's own words about itself, as far as its log is concerned, and who may read it by replication."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from rollout.environment import Database
from rollout.errors import Failed, Refused

PAGE = "runbooks/snapshots.md#log"
SQL = Path(__file__).parent / "sql"


class Server(NamedTuple):
    """What a running server says: identity, version, sizes in bytes, and settings that concern its log."""

    system_identifier: str
    version: str
    major: int
    segment_bytes: int
    superuser: str
    bytes: int
    tablespaces: int
    wal_level: str
    slot_limit: str


def statement(name: str) -> bytes:
    """Return one of the package's SQL files."""
    return (SQL / f"{name}.sql").read_bytes()


def ask(database: Database) -> Server:
    """Return what a database's server says of itself; raise Failed when it does not answer."""
    with connect(database) as connection:
        row = connection.execute(statement("server")).fetchone()
    assert row is not None
    return Server(*row)


def connect(database: Database) -> psycopg.Connection[Any]:
    """Return an autocommit connection as the runner."""
    try:
        return psycopg.connect(database.conninfo("rollout-recovery"), autocommit=True)
    except psycopg.OperationalError as error:
        words = str(error).strip().splitlines()[-1]
        raise Failed(f"{database.host} does not answer: {words}", next="bring it up, then give the same command again") from None


def replication(database: Database) -> str:
    """Return the connection string of the role that may copy the server; raise Refused where the inventory names none."""
    if database.replication_user is None:
        raise Refused(
            f"{database.host} has no role for replication",
            limit="postgres_replication_user in the inventory, with REPLICATION and a line in pg_hba.conf",
            next="name one; where the server does not let you, logical snapshots are what there is",
            page=PAGE,
        )
    return make_conninfo(
        host=database.address, port=database.port, user=database.replication_user, passfile=database.passfile,
        application_name="rollout-recovery", connect_timeout=10,
    )  # fmt: skip
