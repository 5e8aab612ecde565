"""Two databases of one server exchange their names: in one transaction, with the replaced one kept.

A rename holds a lock on the database, behind which new connections wait, while it waits (5 s at most, by Postgres' own
rule) for those that are there to leave. They are ended from beside it. So there is no moment at which the name leads
nowhere, and nothing to clean up after a kill: either both names have changed or neither has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from rollout.environment import Database
from rollout.errors import Refused
from rollout.snapshots import label
from rollout.snapshots.label import Connection, Label
from rollout.snapshots.server import administering

PAGE = "runbooks/restore.md#exchange"
END_EVERY_SECONDS = 0.02
STATEMENT_SECONDS = 15
NAME_BYTES_MAX = 63
PRESENT = "SELECT count(*) FROM pg_database WHERE datname = %s"
OTHERS = """
SELECT string_agg(format('%%s of %%s (pid %%s)', coalesce(nullif(application_name, ''), backend_type), usename, pid), ', ')
FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid()
"""
PREPARED = "SELECT string_agg(gid, ', ') FROM pg_prepared_xacts WHERE database = ANY (%s)"
END = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = ANY (%s) AND backend_type = 'client backend'"


@dataclass(frozen=True)
class Exchanged:
    """Which database now has the live name, under which name the replaced one is kept, and for how long clients had none.

    `ended`: sessions that were ended; `closed_ms`: from the first of them to the commit. Of a repeat `changed` is false and
    `kept` empty: it was said the first time.
    """

    live: str
    kept: str
    changed: bool
    ended: int
    closed_ms: float


def exchange(database: Database, restored: str, kept: str) -> Exchanged:
    """Give the database `restored` the live name and keep the live one as `kept`; a repeat changes nothing.

    Raises Refused when `restored` was not compared, when `kept` exists, when prepared transactions or sessions that may not be
    ended hold one of them; Failed when the server does not answer. The live name then leads where it led before.
    """
    live = database.dbname
    with administering(database) as connection:
        found = label.read(connection, live)
        if found and found.name == restored and not _present(connection, restored):
            return Exchanged(live, "", changed=False, ended=0, closed_ms=0.0)
        _require(connection, database, restored, kept)
        names = [live, restored]
        began = time.monotonic()
        with _ending(database, names) as ended:
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("SET LOCAL statement_timeout = '{}s'").format(sql.SQL(str(STATEMENT_SECONDS))))
                    _rename(connection, live, kept)
                    _rename(connection, restored, live)
                    of_kept = label.read(connection, kept) or Label(host=database.host, name=live)
                    label.write(connection, kept, of_kept.model_copy(update={"replaced": datetime.now(UTC)}))
                    if (of_live := label.read(connection, live)) is not None:
                        label.write(connection, live, of_live.model_copy(update={"replaced": None}))
            except (psycopg.errors.ObjectInUse, psycopg.errors.QueryCanceled):
                held = connection.execute(OTHERS, (names,)).fetchone()
                raise Refused(
                    f"{database.host}: sessions stay in {live} or {restored}: {held[0] if held and held[0] else 'unknown ones'}",
                    limit=f"none within 5 s; pg_signal_backend ends all but superusers' and {live} is as it was",
                    next="end them there, then give the same command again",
                    page=PAGE,
                ) from None
        return Exchanged(live, kept, changed=True, ended=ended[0], closed_ms=round((time.monotonic() - began) * 1000, 1))


def kept_name(dbname: str, now: datetime) -> str:
    """Return the name that a replaced database is kept under; as long as Postgres lets a name be."""
    return named(dbname, f"replaced_{now:%Y%m%dt%H%M%S}")


def named(dbname: str, suffix: str) -> str:
    """Return a name beside a database's, cut so that the suffix stays whole within 63 bytes."""
    room = NAME_BYTES_MAX - len(suffix.encode()) - 1
    return f"{dbname.encode()[:room].decode(errors='ignore')}_{suffix}"


def _require(connection: Connection, database: Database, restored: str, kept: str) -> None:
    found = label.read(connection, restored) if _present(connection, restored) else None
    if found is None or found.host != database.host:
        raise Refused(
            f"{database.host} has no database {restored} that was restored for it",
            next=f"invoke restore --snapshot ID --tier {database.tier}",
            page=PAGE,
        )
    if found.compared is None and found.replaced is None:
        raise Refused(
            f"{restored} on {database.host} was not compared with its snapshot, or differed",
            limit="0 differences",
            next=f"invoke restore --snapshot {found.snapshot or 'ID'} --tier {database.tier}",
            page=PAGE,
        )
    if _present(connection, kept):
        raise Refused(f"{database.host} has a database {kept} already", next="rename or drop that one first", page=PAGE)
    prepared = connection.execute(PREPARED, ([database.dbname, restored],)).fetchone()
    if prepared and prepared[0]:
        raise Refused(
            f"{database.host} has prepared transactions: {prepared[0]}",
            next="COMMIT PREPARED or ROLLBACK PREPARED them, by whoever prepared them",
            page=PAGE,
        )


def _present(connection: Connection, dbname: str) -> bool:
    row = connection.execute(PRESENT, (dbname,)).fetchone()
    return bool(row and row[0])


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


@contextmanager
def _ending(database: Database, names: list[str]) -> Iterator[list[int]]:
    """End the sessions of the databases again and again within the block; yields how many, in a list of one."""
    stop, ended = threading.Event(), [0]

    def work() -> None:
        with administering(database) as connection:
            while not stop.is_set():
                try:
                    row = connection.execute(END, (names,)).fetchone()
                    ended[0] += int(row[0]) if row else 0
                except psycopg.errors.InsufficientPrivilege:
                    return  # a superuser's: the rename will say who
                stop.wait(END_EVERY_SECONDS)

    thread = threading.Thread(target=work, name="end sessions", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join(STATEMENT_SECONDS)
