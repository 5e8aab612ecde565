"""Outcomes of validation in Redis: `<kind>:<tenant>:<id>` holds `valid` or `invalid` for the time to live.

A look-up that began before an invalidation must not store what it found. So each invalidation raises a generation (one
a reference, one a kind for a flush); a look-up remembers the generations that it saw and a script stores its outcome
only where they still stand. Generations of references live longer than any look-up may take, then they expire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from redis.asyncio import Redis

GENERATION_SECONDS = 60
SCAN_COUNT = 1_000

STORE = """
for n = 1, #KEYS, 3 do
    local own, kind = redis.call('GET', KEYS[n + 1]) or '', redis.call('GET', KEYS[n + 2]) or ''
    if own == ARGV[n + 1] and kind == ARGV[n + 2] then
        redis.call('SET', KEYS[n], ARGV[n], 'EX', ARGV[#ARGV])
    end
end
"""


class Reference(NamedTuple):
    """A reference to check. `kind` is campaign, lead or email_account; ids are UUIDs as text, in lower case."""

    kind: str
    id: str
    tenant_id: str

    @property
    def key(self) -> str:
        """Return the Redis key of its outcome."""
        return f"{self.kind}:{self.tenant_id}:{self.id}"

    @property
    def generations(self) -> tuple[str, str]:
        """Return the Redis keys of the generations of this reference and of its kind."""
        return f"generation:{self.key}", f"generation:{self.kind}"


class Cached(NamedTuple):
    """What the cache holds of one reference: the outcome or None, and the two generations ('' when none)."""

    outcome: str | None
    own: str
    kind: str


class Cache:
    """The cache over one Redis; every method is one round trip, `flush` but for its scan. Raises redis.RedisError."""

    def __init__(self, redis: Redis, ttl_seconds: int) -> None:
        self.redis = redis
        self.ttl_seconds = ttl_seconds
        self._store = redis.register_script(STORE)

    async def read(self, references: Sequence[Reference]) -> dict[Reference, Cached]:
        """Return what is cached and the generations under which a look-up of the rest begins."""
        values = await self.redis.mget([key for r in references for key in (r.key, *r.generations)])
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        return {
            r: Cached(texts[3 * n], texts[3 * n + 1] or "", texts[3 * n + 2] or "") for n, r in enumerate(references)
        }

    async def store(self, outcomes: Mapping[Reference, str], seen: Mapping[Reference, Cached]) -> None:
        """Store each outcome whose generations are still those that were seen before its look-up."""
        keys = [key for r in outcomes for key in (r.key, *r.generations)]
        values = [value for r, outcome in outcomes.items() for value in (outcome, seen[r].own, seen[r].kind)]
        await self._store(keys=keys, args=[*values, self.ttl_seconds])

    async def forget(self, references: Sequence[Reference]) -> None:
        """Drop outcomes and void the look-ups under way."""
        async with self.redis.pipeline(transaction=True) as pipe:
            for reference in references:
                own, _ = reference.generations
                pipe.incr(own)
                pipe.expire(own, GENERATION_SECONDS)
                pipe.unlink(reference.key)
            await pipe.execute()

    async def flush(self, kind: str) -> None:
        """Drop every outcome of a kind and void the look-ups under way."""
        await self.redis.incr(f"generation:{kind}")
        batch: list[bytes | str] = []
        # The third part keeps keys of others, such as the product's own `campaign:<id>`, out of it.
        async for key in self.redis.scan_iter(match=f"{kind}:*:*", count=SCAN_COUNT):
            batch.append(key)
            if len(batch) >= SCAN_COUNT:
                await self.redis.unlink(*batch)
                batch.clear()
        if batch:
            await self.redis.unlink(*batch)
