"""The content of a Redis as digests that do not depend on the order of keys, in buckets by when keys expire."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

import redis

from rollout.errors import Failed
from rollout.snapshots.records import KeyBucket, Keyspace, Progress
from rollout.snapshots.redis_helper import command

BATCH_KEYS = 1000
MODULUS = 2**160
MINUTE_MS = 60_000
DAY_MS = 86_400_000
FAR_MS = 3650 * DAY_MS
NEVER = "never"


def bucket(expires_ms: int, reference_ms: int) -> str:
    """Return the bucket of an expiry time (ms since 1970; negative: never) as the start of its span, in ms since 1970.

    Minutes within a day of the reference, days within ten years, then one for the rest: at most some 5,000 buckets.
    """
    if expires_ms < 0:
        return NEVER
    ahead = max(0, expires_ms - reference_ms)
    if ahead >= FAR_MS:
        return str(reference_ms + FAR_MS)
    span = MINUTE_MS if ahead < DAY_MS else DAY_MS
    return str(reference_ms + ahead // span * span)


def read(client: redis.Redis, reference_ms: int, progress: Progress) -> Keyspace:
    """Digest every key of a helper server that nobody writes to; memory is bounded by a batch of 1,000 keys.

    A key's digest is the server's own DEBUG DIGEST-VALUE (type and value, order-free for sets and hashes) hashed with
    its name and expiry. A stream's consumer groups are not in it. Raise Failed when the scan saw a key twice or not at
    all.
    """
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    total = sum(int(d["keys"]) for d in cast(dict[str, dict[str, Any]], client.info("keyspace")).values())
    done = 0
    for database, volatile in _databases(client):
        command(client, "SELECT", database)
        seen, before = 0, client.dbsize()
        for keys in _batches(client):
            digests = command(client, "DEBUG", "DIGEST-VALUE", *keys)
            expiries = _expiries(client, keys) if volatile else [-1] * len(keys)
            for key, digest, expires_ms in zip(keys, digests, expiries, strict=True):
                if expires_ms == -2:
                    continue  # it expired between SCAN and here
                name = f"{database}/{bucket(expires_ms, reference_ms)}"
                line = b"%d:%b %b %d" % (len(key), key, digest, expires_ms)
                counts[name] += 1
                sums[name] = (sums[name] + int.from_bytes(hashlib.sha1(line, usedforsecurity=False).digest())) % MODULUS
            seen += len(keys)
            done += len(keys)
            progress("digest Redis keys", done, total)
        if not client.dbsize() <= seen <= before:
            raise Failed(
                f"the scan of Redis database {database} saw {seen:,} of {before:,} keys",
                next="run the same command again",
            )
    command(client, "SELECT", 0)
    return Keyspace(
        reference_ms=reference_ms,
        read_until_ms=int(time.time() * 1000),
        buckets={name: KeyBucket(keys=counts[name], sum=f"{sums[name]:x}") for name in sorted(counts)},
        functions=_functions(client),
    )


def differences(expected: Keyspace, found: Keyspace) -> tuple[list[str], int, int]:
    """Return what differs, and how many buckets and keys were compared.

    A bucket whose span began before both were read may have lost keys to expiry on one side alone: it is left out, on
    both sides.
    """
    until_ms = max(expected.read_until_ms, found.read_until_ms)
    names = [n for n in sorted(expected.buckets.keys() | found.buckets.keys()) if _alive(n, until_ms)]
    said = []
    for name in names:
        ours, theirs = expected.buckets.get(name, KeyBucket()), found.buckets.get(name, KeyBucket())
        if ours == theirs:
            continue
        database, _, span = name.partition("/")
        which = (
            f"Redis database {database}, keys that {'never expire' if span == NEVER else f'expire from {span} ms on'}"
        )
        how = (
            f"{theirs.keys:,} keys, the snapshot {ours.keys:,}"
            if theirs.keys != ours.keys
            else f"{ours.keys:,} keys, not all alike"
        )
        said.append(f"{which}: {how}")
    if expected.functions != found.functions:
        said.append("Redis functions are not the snapshot's")
    return said, len(names), sum(found.buckets.get(n, KeyBucket()).keys for n in names)


def _alive(name: str, until_ms: int) -> bool:
    span = name.partition("/")[2]
    return span == NEVER or int(span) > until_ms


def _databases(client: redis.Redis) -> list[tuple[int, int]]:
    info = cast(dict[str, dict[str, Any]], client.info("keyspace"))
    return [(int(name.removeprefix("db")), int(entry["expires"])) for name, entry in info.items()]


def _batches(client: redis.Redis) -> Iterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = cast(tuple[int, list[bytes]], client.scan(cursor, count=BATCH_KEYS))
        if keys:
            yield keys
        if cursor == 0:
            return


def _expiries(client: redis.Redis, keys: list[bytes]) -> list[int]:
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.execute_command("PEXPIRETIME", key)  # type: ignore[no-untyped-call]
        return cast(list[int], pipeline.execute())


def _functions(client: redis.Redis) -> str:
    try:
        listed = command(client, "FUNCTION", "LIST", "WITHCODE")
    except redis.ResponseError:
        return ""  # older than functions are
    return (
        hashlib.sha256(b"\n".join(sorted(repr(library).encode() for library in listed))).hexdigest() if listed else ""
    )
