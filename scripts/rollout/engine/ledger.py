"""The ledger in a database: the fence, where each change stands, its checkpoints and its history.

Everything here runs in the caller's transaction, so that the record and the work commit together or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb

from rollout.environment import Database
from rollout.errors import Failed, Fenced

DDL = Path(__file__).with_name("ledger.sql")
Connection = psycopg.Connection[dict[str, Any]]
# Keys are bound and read as text: it has to mean one thing, and so do definitions, whatever the database's or the role's defaults
# are. Those that are meant for its clients would end our long statements; where ours have a limit they state it themselves.
SESSION = """
SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3;
SET quote_all_identifiers = off;
SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
SET default_transaction_deferrable = off;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0
"""
TRANSACTION_TIMEOUT = 170000  # the first version that has it
VERSION = "SELECT obj_description(oid, 'pg_namespace') AS version FROM pg_namespace WHERE nspname = 'rollout'"


@dataclass(frozen=True)
class Fence:
    """Who writes: the run and its fencing token (monotonic per environment)."""

    run: str
    token: int


@contextmanager
def connect(database: Database, application_name: str = "rollout") -> Iterator[Connection]:
    """Yield a connection in autocommit mode, rows as dicts; raise Failed when the database cannot be reached."""
    try:
        connection = psycopg.connect(database.conninfo(application_name), autocommit=True, row_factory=dict_row)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise Failed(
            f"{database.host} does not answer: {reason}", next="look at its log, then repeat the command"
        ) from None
    speak_plainly(connection)
    with connection:
        yield connection


def speak_plainly(connection: Connection) -> None:
    """Set a new connection up for the engine's statements."""
    # Statements that psycopg prepares by itself would take ours with them when it forgets them (engine/rewrite/description.py).
    connection.prepare_threshold = None
    connection.execute(SESSION)
    if connection.info.server_version >= TRANSACTION_TIMEOUT:
        connection.execute("SET transaction_timeout = 0")


def install(connection: Connection, fence: Fence) -> None:
    """Create what is missing of the ledger and raise its fence to this run's token; raise Fenced when it is higher."""
    with connection.transaction():
        # Two runners that install at once would otherwise collide in the catalogue.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('rollout.ledger'))")
        text = DDL.read_bytes()
        version = f"ledger {hashlib.sha256(text).hexdigest()[:12]}"
        row = connection.execute(VERSION).fetchone()
        if not row or row["version"] != version:
            connection.execute(text)
            connection.execute(sql.SQL("COMMENT ON SCHEMA rollout IS {}").format(sql.Literal(version)))
        connection.execute(
            "INSERT INTO rollout.fence (token, run) VALUES (%s, %s) ON CONFLICT (one) DO UPDATE"
            " SET token = excluded.token, run = excluded.run WHERE rollout.fence.token <= excluded.token",
            (fence.token, fence.run),
        )
        check(connection, fence)


def installed(connection: Connection) -> bool:
    """Return whether this database has a ledger."""
    row = connection.execute("SELECT to_regclass('rollout.changes') IS NOT NULL AS found").fetchone()
    return bool(row and row["found"])


def check(connection: Connection, fence: Fence) -> None:
    """Hold the fence for the rest of the transaction; raise Fenced when another runner has raised it."""
    row = connection.execute("SELECT token, run FROM rollout.fence FOR SHARE").fetchone()
    if row is None or row["token"] != fence.token:
        seen = row["token"] if row else "none"
        raise Fenced(
            f"this runner holds fencing token {fence.token}, the ledger has {seen}",
            next="invoke status; the newer run goes on, this one must stop",
        )


def stage(connection: Connection, change: str) -> str | None:
    """Return the stage that a change has reached here, or None."""
    row = connection.execute("SELECT stage FROM rollout.changes WHERE change = %s", (change,)).fetchone()
    return str(row["stage"]) if row else None


def reach(connection: Connection, fence: Fence, change: str, new_stage: str | None, sha256: str, **facts: Any) -> None:
    """Record that a change reached a stage (None: it is gone without trace in the schema) and the event of it."""
    if new_stage is None:
        connection.execute("DELETE FROM rollout.changes WHERE change = %s", (change,))
    else:
        connection.execute(
            "INSERT INTO rollout.changes (change, stage, sha256, run) VALUES (%s, %s, %s, %s) ON CONFLICT (change)"
            " DO UPDATE SET stage = excluded.stage, run = excluded.run, changed_at = now(), sha256 = CASE excluded.stage"
            # What a shadow was built from is said once: a later edit of the files must not pass for it.
            " WHEN 'expanded' THEN excluded.sha256 ELSE rollout.changes.sha256 END",
            (change, new_stage, sha256, fence.run),
        )
    record(connection, fence, change, new_stage or "discarded", **facts)


def record(connection: Connection, fence: Fence, change: str, event: str, **facts: Any) -> None:
    """Append an event."""
    connection.execute(
        "INSERT INTO rollout.events (run, token, change, event, facts) VALUES (%s, %s, %s, %s, %s)",
        (fence.run, fence.token, change, event, Jsonb(facts)),
    )


def shape(connection: Connection, change: str) -> dict[str, Any] | None:
    """Return the stored shape of a rewrite, or None."""
    row = connection.execute("SELECT shape FROM rollout.shapes WHERE change = %s", (change,)).fetchone()
    return dict(row["shape"]) if row else None


def keep_shape(connection: Connection, change: str, shape: dict[str, Any] | None) -> None:
    """Store the shape of a rewrite, or (None) forget it."""
    connection.execute("DELETE FROM rollout.shapes WHERE change = %s", (change,))
    if shape is not None:
        connection.execute("INSERT INTO rollout.shapes (change, shape) VALUES (%s, %s)", (change, Json(shape)))


def renames(connection: Connection, change: str) -> dict[str, Any]:
    """Return what is kept of a rename: `tables`, `constraints`, and whether the swap is `whole`."""
    row = connection.execute("SELECT state FROM rollout.renames WHERE change = %s", (change,)).fetchone()
    return {"tables": {}, "constraints": [], "whole": False, **(row["state"] if row else {})}


def keep_renames(connection: Connection, change: str, state: dict[str, Any] | None) -> None:
    """Store what is kept of a rename, or (None) forget it."""
    connection.execute("DELETE FROM rollout.renames WHERE change = %s", (change,))
    if state is not None:
        connection.execute("INSERT INTO rollout.renames (change, state) VALUES (%s, %s)", (change, Json(state)))


def checkpoint(connection: Connection, change: str, work: str) -> dict[str, Any]:
    """Return the checkpoint of a piece of chunked work: last_key, rows, finished."""
    row = connection.execute(
        "SELECT last_key, rows, finished FROM rollout.checkpoints WHERE change = %s AND work = %s", (change, work)
    ).fetchone()
    return row or {"last_key": None, "rows": 0, "finished": False}


def lanes(connection: Connection, change: str, work: str) -> list[dict[str, Any]]:
    """Return the checkpoints of a piece of work, one a lane: work (its name), last_key, until_key, rows, finished; or none."""
    return connection.execute(
        "SELECT work, last_key, until_key, rows, finished FROM rollout.checkpoints"
        " WHERE change = %(c)s AND %(w)s IN (work, lane_of) ORDER BY length(work), work",
        {"c": change, "w": work},
    ).fetchall()


def divide(connection: Connection, change: str, work: str, bounds: list[str]) -> None:
    """Divide work that has not begun into lanes, one more than there are bounds."""
    for number, (begin, end) in enumerate(pairwise([None, *bounds, None]), 1):
        connection.execute(
            "INSERT INTO rollout.checkpoints (change, work, last_key, until_key, lane_of) VALUES (%s, %s, %s, %s, %s)",
            (change, work if begin is None else f"{work}/{number}", begin, end, None if begin is None else work),
        )


def advance(connection: Connection, change: str, work: str, last_key: str | None, rows: int) -> None:
    """Move a checkpoint; `last_key` None means that the work is finished."""
    connection.execute(
        "INSERT INTO rollout.checkpoints (change, work, last_key, rows, finished) VALUES (%(c)s, %(w)s, %(k)s, %(r)s, %(f)s)"
        " ON CONFLICT (change, work) DO UPDATE SET last_key = coalesce(excluded.last_key, rollout.checkpoints.last_key),"
        " rows = rollout.checkpoints.rows + excluded.rows, finished = excluded.finished",
        {"c": change, "w": work, "k": last_key, "r": rows, "f": last_key is None},
    )


def forget_checkpoints(connection: Connection, change: str) -> None:
    """Discard the checkpoints of a change: nothing that was copied counts any more."""
    connection.execute("DELETE FROM rollout.checkpoints WHERE change = %s", (change,))


def at_risk(connection: Connection) -> dict[str, int]:
    """Return, by change that can still be taken back, how many rows a rollback would leave behind in the reject ledger."""
    rows = connection.execute(
        "SELECT r.change, count(*) AS n FROM rollout.rejects AS r JOIN rollout.changes AS c USING (change)"
        " WHERE r.taken_back IS NULL AND c.stage NOT IN ('contracting', 'contracted') GROUP BY r.change"
    ).fetchall()
    return {str(row["change"]): int(row["n"]) for row in rows}


def rejects(connection: Connection) -> int:
    """Return how many rows of all changes the reject ledger holds that a rollback would leave behind."""
    return sum(at_risk(connection).values())
