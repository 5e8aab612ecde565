"""The validator: whether what a row of another database refers to exists in oltp, for this tenant.

For the application: it needs psycopg and redis, and nothing else of the library. The outcome `unknown` allows the
write; the writer records it with `record` in its own transaction, and the next scan tells whether it was an orphan.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rollout.references.cache import Cache, Cached, Reference

ACT = b"SELECT set_config('app.current_tenant_id', %s, true)"
KINDS = ("campaign", "lead", "email_account")
LOOK_UP = b"SELECT kind, id::text, tenant_id::text FROM rollout.existing_references(%s::text[], %s::uuid[], %s::uuid[])"
RECORD = b"""
INSERT INTO rollout.unvalidated_writes (relation, key, kind, reference, tenant_id)
SELECT %s, %s, kind, reference, tenant_id
FROM unnest(%s::text[], %s::text[], %s::text[]) AS unvalidated (kind, reference, tenant_id)
"""
Connect = Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]]
AWAY = (psycopg.Error, OSError, TimeoutError)


class Outcome(StrEnum):
    """`valid` and `invalid` are what oltp said, now or within the time to live; `unknown`: it could not be asked."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class Validator:
    """Checks references through a cache; safe to share between the tasks of one event loop."""

    def __init__(self, connect: Connect, redis: Redis, *, ttl_seconds: int = 300, timeout_seconds: float = 1.0) -> None:
        """`connect`: gives a connection to oltp for a `async with`, such as `AsyncConnectionPool(...).connection`.

        `timeout_seconds` bounds each of: reading the cache, asking oltp, storing. It must stay well below the minute
        for which the cache remembers an invalidation. Raise ValueError when it is not in (0, 10].
        """
        if not 0 < timeout_seconds <= 10:
            raise ValueError("timeout_seconds must be above 0 and at most 10")
        self._connect = connect
        self._cache = Cache(redis, ttl_seconds)
        self._timeout = timeout_seconds

    async def check(self, kind: str, id: str | uuid.UUID, tenant_id: str | uuid.UUID) -> Outcome:
        """Return whether a referent exists for a tenant; raise ValueError for a kind that is not known."""
        outcomes = await self.check_many([(kind, id, tenant_id)])
        return next(iter(outcomes.values()))

    async def check_many(
        self, references: Iterable[tuple[str, str | uuid.UUID, str | uuid.UUID]]
    ) -> dict[Reference, Outcome]:
        """Return the outcome of each (kind, id, tenant): one MGET, then for what is not cached one query a tenant.

        Never raises for a database that is away: oltp away is `unknown` for what is not cached, Redis away only costs
        the cache. Raise ValueError for a kind that is not known.
        """
        wanted = [_reference(*given) for given in references]
        outcomes = {r: Outcome.INVALID for r in wanted if not (_is_uuid(r.id) and _is_uuid(r.tenant_id))}
        asked = [r for r in dict.fromkeys(wanted) if r not in outcomes]
        seen = await self._cached(asked)
        outcomes |= {r: Outcome(c.outcome) for r, c in (seen or {}).items() if c.outcome in ("valid", "invalid")}
        missing = [r for r in asked if r not in outcomes]
        if missing:
            found = await self._look_up(missing)
            outcomes |= found
            known = {r: outcome.value for r, outcome in found.items() if outcome is not Outcome.UNKNOWN}
            if known and seen is not None:
                await self._store(known, seen)
        return {r: outcomes[r] for r in wanted}

    async def forget(self, kind: str, id: str | uuid.UUID, tenant_id: str | uuid.UUID) -> None:
        """Drop a cached outcome now; for whoever has just created or deleted the referent. Raises redis.RedisError."""
        await self.forget_many([(kind, id, tenant_id)])

    async def forget_many(self, references: Iterable[tuple[str, str | uuid.UUID, str | uuid.UUID]]) -> None:
        """Drop cached outcomes now, in one round trip. Raises redis.RedisError."""
        given = [_reference(*reference) for reference in references]
        if given:
            await self._cache.forget(given)

    async def flush(self, kind: str) -> None:
        """Drop every cached outcome of a kind. Raises redis.RedisError."""
        await self._cache.flush(_known(kind))

    async def _cached(self, references: Sequence[Reference]) -> dict[Reference, Cached] | None:
        if not references:
            return {}
        try:
            async with asyncio.timeout(self._timeout):
                return await self._cache.read(references)
        except (RedisError, OSError, TimeoutError):
            return None

    async def _look_up(self, references: Sequence[Reference]) -> dict[Reference, Outcome]:
        try:
            async with asyncio.timeout(self._timeout), self._connect() as connection:
                existing: set[Reference] = set()
                async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
                    # Row security shows one tenant at a time; a request asks for its own alone.
                    for tenant_id in dict.fromkeys(r.tenant_id for r in references):
                        asked = zip(*(r for r in references if r.tenant_id == tenant_id), strict=True)
                        await cursor.execute(ACT, (tenant_id,))
                        await cursor.execute(LOOK_UP, [list(column) for column in asked])
                        existing |= {Reference(*row) for row in await cursor.fetchall()}
                return {r: Outcome.VALID if r in existing else Outcome.INVALID for r in references}
        except AWAY:
            return dict.fromkeys(references, Outcome.UNKNOWN)

    async def _store(self, outcomes: Mapping[Reference, str], seen: Mapping[Reference, Cached]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._cache.store(outcomes, seen)
        except (RedisError, OSError, TimeoutError):
            # The outcome holds all the same; it is asked for again next time.
            return


async def record(
    connection: psycopg.AsyncConnection[Any], relation: str, key: str, outcomes: Mapping[Reference, Outcome]
) -> int:
    """Record the `unknown` ones of a write (`key`: of the written row) in the writer's transaction; return how many."""
    unknown = [r for r, outcome in outcomes.items() if outcome is Outcome.UNKNOWN]
    if unknown:
        columns = [list(column) for column in zip(*unknown, strict=True)]
        await connection.execute(RECORD, (relation, key, *columns))
    return len(unknown)


def _reference(kind: str, id: str | uuid.UUID, tenant_id: str | uuid.UUID) -> Reference:
    return Reference(_known(kind), str(id).lower(), str(tenant_id).lower())


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of reference {kind!r}: one of {', '.join(KINDS)}")
    return kind


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
