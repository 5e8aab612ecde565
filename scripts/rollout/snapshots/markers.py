"""The marker of a snapshot: put into a database and its log just before, and looked for in a copy."""

from __future__ import annotations

import psycopg
from psycopg import sql

from rollout.environment import Database
from rollout.errors import Failed
from rollout.snapshots.contents import Connection, statement
from rollout.snapshots.records import Marker
from rollout.snapshots.server import administering

PRESENT = "SELECT to_regclass('rollout.markers') IS NOT NULL"


def put(database: Database, name: str) -> Marker:
    """Write a row of this name and, where the server lets us, a restore point into its log; return where that stands."""
    try:
        with psycopg.connect(database.conninfo("rollout-marker"), autocommit=True) as connection:
            if not _present(connection):
                connection.execute(statement("markers"))
            connection.execute("INSERT INTO rollout.markers (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
            with administering(database) as beside:  # the right to make one is given there, where no dump takes it along
                lsn, made = _restore_point(beside, name)
            return Marker(name=name, lsn=lsn, restore_point=made)
    except psycopg.Error as error:
        words = error.diag.message_primary or str(error).strip().splitlines()[-1]
        raise Failed(f"{database.host}: the marker {name} could not be written: {words}",
                     next="remove the cause, then run the same command") from None  # fmt: skip


def held(connection: Connection, name: str) -> bool:
    """Tell whether a database, or a copy of one, holds the marker."""
    if not _present(connection):
        return False
    row = connection.execute("SELECT EXISTS (SELECT FROM rollout.markers WHERE name = %s)", (name,)).fetchone()
    return bool(row and row[0])


def _present(connection: Connection) -> bool:
    row = connection.execute(PRESENT).fetchone()
    return bool(row and row[0])


def _restore_point(connection: Connection, name: str) -> tuple[str, bool]:
    try:
        row = connection.execute("SELECT pg_create_restore_point(%s)::text", (name,)).fetchone()
        return (str(row[0]) if row else ""), True
    except psycopg.errors.InsufficientPrivilege:  # a role's by default a superuser's alone: GRANT EXECUTE gives it
        row = connection.execute(sql.SQL("SELECT pg_current_wal_lsn()::text")).fetchone()
        return (str(row[0]) if row else ""), False
    except psycopg.errors.ObjectNotInPrerequisiteState:  # wal_level minimal
        return "", False
