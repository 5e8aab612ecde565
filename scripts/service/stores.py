"""Where a process keeps its state: a small pool for each tier, and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


class Stores:
    """The pools and Redis of one process, its release, whether it is about to leave (`draining`), and `references`:
    None in a release that does not check them.
    """

    def __init__(self, release: Release, dsns: dict[str, str], redis_url: str, colour: str) -> None:
        self.release = release
        self.colour = colour
        self.draining = False
        self._pools: dict[str, AsyncConnectionPool[Connection]] = {
            tier: AsyncConnectionPool(
                make_conninfo(
                    dsns[tier],
                    options=f"-c search_path={release.search_path.replace(' ', '')}",
                    application_name=f"penguin-{release.version}-{colour}",
                    connect_timeout=5,
                ),
                connection_class=AsyncConnection[Row],
                kwargs={"row_factory": dict_row},
                min_size=1,
                max_size=5,
                timeout=POOL_TIMEOUT_SECONDS,
                open=False,
                name=tier,
            )
            for tier in TIERS
        }
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5)
        self.references: References | None = None
        if release.checks_references:
            name = f"penguin-{release.version}-{colour}-references"
            listener = make_conninfo(dsns["oltp"], application_name=name)
            self.references = References(self._pools["oltp"].connection, self.redis, listener)

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
    async def transaction(self, tier: str, tenant_id: str | None = None) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, in the name of a tenant where row security asks for one.

        Raise psycopg_pool.PoolTimeout after 5 s without a free connection, psycopg.Error when the database is away.
        """
        async with self._pools[tier].connection() as connection:
            if tenant_id is not None:
                await connection.execute(self.release.one("oltp", "act_for_tenant"), {"tenant_id": tenant_id})
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
