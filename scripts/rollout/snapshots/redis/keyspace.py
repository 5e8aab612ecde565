"""The content of a Redis as digests that do not depend on the order of keys, in buckets by when keys expire."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis

from rollout.errors import Failed
from rollout.snapshots.records import KeyBucket, Keyspace, Progress
from rollout.snapshots.redis.client import command, databases, scan

BATCH_KEYS = 1000
MODULUS = 2**160
MINUTE_MS = 60_000
DAY_MS = 86_400_000
FAR_MS = 3650 * DAY_MS
NEVER = "never"
FACTS = (Path(__file__).with_name("facts.lua")).read_text()


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

    A key's digest is the server's own DEBUG DIGEST-VALUE (type and value, order-free for sets and hashes; ours for
    sorted sets) hashed with its name and expiry, and, of a stream, with its consumer groups. Raise Failed when the scan
    saw a key twice or not at all.
    """
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    types: dict[str, int] = defaultdict(int)
    held = databases(client)
    total, done = sum(keys for _, keys, _ in held), 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        progress("digest Redis keys", done, total)

    for database, _, _ in held:
        command(client, "SELECT", database)
        before = client.dbsize()
        seen = _read_database(client, database, counts, sums, types, reference_ms, tell)
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
        types=dict(sorted(types.items())),
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
    said += [
        f"Redis database {kind.replace('/', ', ')} keys that never expire: {found.types.get(kind, 0):,},"
        f" the snapshot {expected.types.get(kind, 0):,}"
        for kind in sorted(expected.types.keys() | found.types.keys())
        if expected.types.get(kind, 0) != found.types.get(kind, 0)
    ]
    if expected.functions != found.functions:
        said.append("Redis functions are not the snapshot's")
    return said, len(names), sum(found.buckets.get(n, KeyBucket()).keys for n in names)


def _alive(name: str, until_ms: int) -> bool:
    span = name.partition("/")[2]
    return span == NEVER or int(span) > until_ms


def total(parts: Iterable[Keyspace]) -> Keyspace:
    """Return the content of several servers as one: digests of disjoint keys add up."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    types: dict[str, int] = defaultdict(int)
    for part in parts:
        for name, held in part.buckets.items():
            counts[name] += held.keys
            sums[name] = (sums[name] + int(held.sum, 16)) % MODULUS
        for kind, keys in part.types.items():
            types[kind] += keys
    return Keyspace(
        reference_ms=parts[0].reference_ms,
        read_until_ms=max(part.read_until_ms for part in parts),
        buckets={name: KeyBucket(keys=counts[name], sum=f"{sums[name]:x}") for name in sorted(counts)},
        functions=hashlib.sha256("".join(sorted({p.functions for p in parts})).encode()).hexdigest(),
        types=dict(sorted(types.items())),
    )


def _read_database(
    client: redis.Redis, database: int, counts: dict[str, int], sums: dict[str, int], types: dict[str, int],
    reference_ms: int, done: Callable[[int], None],
) -> int:  # fmt: skip
    seen = 0
    for keys in scan(client, BATCH_KEYS):
        digests = command(client, "DEBUG", "DIGEST-VALUE", *keys)
        facts = command(client, "EVAL", FACTS, len(keys), *keys)
        for key, digest, (kind, expires_ms, ordered) in zip(keys, digests, facts, strict=True):
            if kind == b"none":
                continue  # it expired between SCAN and here
            name = f"{database}/{bucket(expires_ms, reference_ms)}"
            groups = _groups(client, key) if kind == b"stream" else b""
            line = b"%d:%b %b %d %b" % (len(key), key, ordered or digest, expires_ms, groups)
            counts[name] += 1
            sums[name] = (sums[name] + int.from_bytes(hashlib.sha1(line, usedforsecurity=False).digest())) % MODULUS
            if expires_ms < 0:
                types[f"{database}/{kind.decode()}"] += 1
        seen += len(keys)
        done(len(keys))
    return seen


def _groups(client: redis.Redis, key: bytes) -> bytes:
    """Return a digest of a stream's consumer groups: last delivered id, consumers, and what is pending for whom.

    When an entry was delivered is not in it: no two servers tell that alike.
    """
    digest = hashlib.sha256()
    for group in sorted(_pairs(answer)[b"name"] for answer in command(client, "XINFO", "GROUPS", key)):
        about = next(a for a in map(_pairs, command(client, "XINFO", "GROUPS", key)) if a[b"name"] == group)
        consumers = sorted(_pairs(c)[b"name"] for c in command(client, "XINFO", "CONSUMERS", key, group))
        digest.update(repr((group, about[b"last-delivered-id"], consumers)).encode())
        after = b"-"
        while pending := command(client, "XPENDING", key, group, after, "+", BATCH_KEYS):
            for identity, consumer, _idle, times in pending:
                digest.update(repr((identity, consumer, times)).encode())
            after = b"(" + pending[-1][0]
    return digest.hexdigest().encode()


def _pairs(answer: Any) -> dict[bytes, Any]:
    if isinstance(answer, dict):
        return {k if isinstance(k, bytes) else str(k).encode(): v for k, v in answer.items()}
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _functions(client: redis.Redis) -> str:
    try:
        listed = command(client, "FUNCTION", "LIST", "WITHCODE")
    except redis.ResponseError:
        return ""  # older than functions are
    return (
        hashlib.sha256(b"\n".join(sorted(repr(library).encode() for library in listed))).hexdigest() if listed else ""
    )
