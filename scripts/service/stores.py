"""Where a process keeps its state: a small pool for each tier, and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import redis.asyncio as redis
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from service.queries import TIERS, Release
from service.references import References

Row = dict[str, Any]
Connection = AsyncConnection[Row]
POOL_TIMEOUT_SECONDS = 5.0
WORKER = "worker"


@dataclass(frozen=True)
class Actor:
    """In whose name a transaction runs; all as text, empty when not known."""

    tenant_id: str
    user_id: str = ""
    session_id: str = ""
    ip_address: str = ""
    user_agent: str = ""


class Stores:
    """The pools and Redis of one process, its release, whether it is about to leave (`draining`), and `references`:
    None in a release that does not check them.

    `dsns`: by tier, and by `worker` that of the role which works the queue of all tenants.
    """

    def __init__(self, release: Release, dsns: dict[str, str], redis_url: str, colour: str) -> None:
        self.release = release
        self.colour = colour
        self.draining = False
        names = dict.fromkeys(TIERS, f"penguin-{release.version}-{colour}")
        if release.sets_tenant:
            names[WORKER] = f"penguin-{release.version}-{colour}-worker"
        self._pools = {name: self._pool(name, dsns[name], session) for name, session in names.items()}
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5)
        self.references: References | None = None
        if release.checks_references:
            name = f"penguin-{release.version}-{colour}-references"
            listener = make_conninfo(dsns["oltp"], application_name=name)
            self.references = References(self._pools["oltp"].connection, self.redis, listener)

    def _pool(self, name: str, dsn: str, application_name: str) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            make_conninfo(
                dsn,
                options=f"-c search_path={self.release.search_path.replace(' ', '')}",
                application_name=application_name,
                connect_timeout=5,
            ),
            connection_class=AsyncConnection[Row],
            kwargs={"row_factory": dict_row},
            min_size=1,
            max_size=5,
            timeout=POOL_TIMEOUT_SECONDS,
            open=False,
            name=name,
        )

    @property
    def pools(self) -> tuple[str, ...]:
        """Return the names that `transaction` lends connections of: the tiers, and `worker` where it is apart."""
        return tuple(self._pools)

    async def open(self) -> None:
        """Open the pools without waiting for the databases: a tier that is away must not keep the rest from serving."""
        for pool in self._pools.values():
            await pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.close()
        await self.redis.aclose()

    @asynccontextmanager
    async def transaction(self, pool: str, actor: Actor | None = None) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, in the name of an actor; without one row security shows no tenant.

        A release that was built before tenants were named everywhere names them on oltp alone.
        Raise psycopg_pool.PoolTimeout after 5 s without a free connection, psycopg.Error when the database is away.
        """
        async with self._pools[pool].connection() as connection:
            if actor is not None and (self.release.sets_tenant or pool == "oltp"):
                await connection.execute(self.release.one("oltp", "act"), asdict(actor))
            yield connection

    @asynccontextmanager
    async def work(self) -> AsyncIterator[Connection]:
        """Lend a connection to queue for what serves no single tenant: as the worker, where a release knows it."""
        async with self.transaction(WORKER if WORKER in self._pools else "queue") as connection:
            yield connection

    async def first(self, connection: Connection, tier: str, name: str, values: Row) -> Row | None:
        """Run every statement of a name in order; return the first row that any of them gave."""
        found: Row | None = None
        for statement in self.release.all(tier, name):
            row = await (await connection.execute(statement, values)).fetchone()
            found = found or row
        return found

    async def rows(self, connection: Connection, tier: str, name: str, values: Row) -> list[Row]:
        """Run the statement of a name; return its rows."""
        return await (await connection.execute(self.release.one(tier, name), values)).fetchall()

    async def run(self, connection: Connection, tier: str, name: str, values: Row) -> int:
        """Run the statement of a name; return how many rows it touched."""
        return (await connection.execute(self.release.one(tier, name), values)).rowcount
