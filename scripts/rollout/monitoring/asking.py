"""Asking a live database: one connection, each question a transaction of its own; and all databases at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from psycopg import sql

from rollout.engine import ledger
from rollout.engine.ledger import Connection
from rollout.environment import TIERS, Database, Environment
from rollout.monitoring.declaration import SQL

NAME = "rollout-monitor"
ASK_SECONDS = 5.0
T = TypeVar("T")


def each(environment: Environment, ask: Callable[[Database], T]) -> list[T]:
    """Ask every live database at the same time and return the answers tier by tier; `ask` raises nothing."""
    databases = [database for tier in TIERS for database in environment.tier(tier)]
    with ThreadPoolExecutor(max(1, len(databases))) as pool:
        return list(pool.map(ask, databases))


@contextmanager
def transaction(connection: Connection, seconds: float, *, read_only: bool = False) -> Iterator[None]:
    """Begin a transaction whose statements end after `seconds`, and in which the product's names are found wherever they are."""
    with connection.transaction():
        if read_only:
            connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{round(seconds * 1000)}ms")))
        connection.execute("SET LOCAL lock_timeout = '2s'")
        connection.execute((SQL / "search_path.sql").read_bytes())
        yield


def rows(connection: Connection, file: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a file of sql/, in the caller's transaction."""
    return connection.execute((SQL / file).read_bytes(), values or {}).fetchall()


def has(connection: Connection, relation: str) -> bool:
    """Tell whether a relation is there."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS found", (relation,)).fetchone()
    return bool(row and row["found"])


def why(error: Exception) -> str:
    """Return the first line of an error, with its kind."""
    observed = getattr(error, "observed", "")
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return str(observed or f"{type(error).__name__}: {first}")[:300]


connect = ledger.connect
