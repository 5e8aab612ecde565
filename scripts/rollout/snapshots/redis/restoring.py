"""A snapshot of Redis brought into a server that is not live, and compared with any server, or in a throw-away one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import redis

from rollout import environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import DIFFERENCES_MAX, Comparison, Keyspace, Progress, RedisSnapshot, Restored, quiet
from rollout.snapshots.redis import beside, compat, guards, keyspace, logical, rewrite
from rollout.snapshots.redis.client import Server, asked, command, connect, put_back
from rollout.snapshots.redis.copies import Way, of_server, of_snapshot, written_by
from rollout.snapshots.redis.helper import Helper
from rollout.snapshots.redis.marker import has_marker
from rollout.snapshots.redis.programs import choose
from rollout.snapshots.redis.sync import ReplicationRefused, wait_for_sync

RestoreWay = Literal["auto", "replication", "logical"]
MODERN = (7, 0)  # functions, and what streams count


def restore_redis(
    snapshot: RedisSnapshot,
    store: ObjectStore,
    target: environment.Redis,
    progress: Progress = quiet,
    *,
    way: RestoreWay = "auto",
) -> Restored:
    """Make `target`, which must not be live, hold what the snapshot holds, without a restart.

    Object and content are verified in a helper before the target is touched. `replication`: at once, from the helper;
    `logical`: key by key, as payloads, or as plain commands where the target does not read those; `auto`: the first, or
    the second when the target refuses that or is a cluster's node with the snapshot's slots. Raise Refused when `target`
    is live, is the server the snapshot came from, or does not read what that wrote; Failed otherwise.
    """
    started = time.monotonic()
    about = asked(target)
    guards.require_target(snapshot, target, about)
    left_out = list(snapshot.left_out)
    if way != "logical":
        compat.require_reads(written_by(snapshot), target.host, about.product, about.version)
    if about.cluster:
        guards.require_slots(snapshot, target)
        way = "logical"
    with connect(target) as client:
        beside.require_modules(snapshot, client, target.host)
        if way != "logical":
            try:
                with (
                    primary_of(snapshot, store, target, about, client, progress) as source,
                    following(client, source, target.host),
                ):
                    pass
                return _restored(target, started, left_out)
            except (redis.ResponseError, ReplicationRefused) as error:
                if way == "replication":
                    raise Failed(f"{target.host} does not follow the helper: {error}", next="way='logical'") from None
                left_out.append(f"restored key by key: {error}")
        with of_snapshot(snapshot, store, target, progress=progress) as source:
            left_out += write(source, client, about, target.host, progress)
            logical.unlink_others(client, source.client, progress)
    return _restored(target, started, left_out)


@contextmanager
def primary_of(
    snapshot: RedisSnapshot,
    store: ObjectStore,
    target: environment.Redis,
    about: Server,
    client: redis.Redis,
    progress: Progress = quiet,
) -> Iterator[Helper]:
    """Yield a helper with the snapshot that `target` can follow with the credentials it has for a primary, if any.

    Raise ReplicationRefused, or the server's own ResponseError, when it cannot be made to follow one.
    """
    have = {name: _setting(client, name) for name in ("masterauth", "masteruser", "tls-replication")}
    if have["tls-replication"] == "yes":
        raise ReplicationRefused(
            f"{target.host} follows over TLS alone, which a helper does not speak", next="way='logical'"
        )
    written = written_by(snapshot)
    program = choose(
        lambda p: p.reads(written) and compat.reads(p.writes(), about.product, about.version),
        compat.of(about.product, about.version),
    )
    with of_snapshot(snapshot, store, target, program, word=have["masterauth"], progress=progress) as source:
        if have["masteruser"]:
            rules = ("on", f">{source.password}", "~*", "&*", "+@all") if program.version >= (6, 2) else ()
            command(source.client, "ACL", "SETUSER", have["masteruser"], *rules)
        yield source


@contextmanager
def following(client: redis.Redis, source: Helper, host: str) -> Iterator[None]:
    """Make a server the helper's replica, wait until it has everything, run the block, and make it a primary again."""
    with put_back(client, "masterauth", source.password):
        try:
            command(client, "REPLICAOF", source.address, source.port)
            wait_for_sync(client, host, reached=lambda: bool(source.client.info("replication")["connected_slaves"]))
            yield
        finally:
            command(client, "REPLICAOF", "NO", "ONE")


def write(source: Helper, client: redis.Redis, about: Server, host: str, progress: Progress = quiet) -> list[str]:
    """Write a helper's content into a server key by key, each replaced whole, and return what it could not be given.

    As payloads, or, when the server does not read those, as the plain commands of an append-only file.
    """
    modern = about.version >= MODERN
    if compat.reads(source.program.writes(), about.product, about.version):
        logical.send(client, logical.restoring(logical.records(source.client, progress)), host, progress)
        dumped = beside.read(source.client).functions
        if dumped and modern:
            beside.restore_functions(client, dumped)
        return ["functions"] if dumped and not modern else []
    commands = rewrite.replacing(rewrite.rewritten(source), functions=modern, modern=modern)
    logical.send(client, commands, host, progress)
    old = [] if modern else ["functions", "what streams count since 7.0"]
    return [f"written as plain commands: {about.product} does not read {source.program.writes().rdb}", *old]


def compare_redis(
    snapshot: RedisSnapshot, target: environment.Redis, progress: Progress = quiet, *, way: Way = "auto"
) -> Comparison:
    """Compare every key of `target` that is not about to expire with the snapshot, on a copy of it in a helper
    server."""
    started = time.monotonic()
    with of_server(target, asked(target), way, progress) as copied:
        found = keyspace.read(copied.helper.client, snapshot.keyspace.reference_ms, progress)
    return compared(snapshot, target.host, found, started)


def prove_redis(snapshot: RedisSnapshot, store: ObjectStore, progress: Progress = quiet) -> Comparison:
    """Restore a snapshot into a throw-away server on this machine and compare it; an unreadable one is a difference.

    Raise Refused when nothing installed can hold it.
    """
    started = time.monotonic()
    here = environment.Redis(host="throw-away", host_set="staging", address="127.0.0.1", port=1)
    with of_snapshot(snapshot, store, here, check=False, progress=progress) as held:
        beside.get(snapshot, store)
        found = keyspace.read(held.client, snapshot.keyspace.reference_ms, progress)
        marked = not snapshot.marker or snapshot.slots or has_marker(held.client, snapshot.marker)
    result = compared(snapshot, snapshot.host, found, started)
    if marked:
        return result
    said = [*result.differences, f"the marker {snapshot.marker} is not in it"]
    return result.model_copy(update={"differences": said, "differences_total": result.differences_total + 1})


def compared(snapshot: RedisSnapshot, host: str, found: Keyspace, started: float) -> Comparison:
    """Return the comparison of a snapshot with what was found."""
    said, buckets, keys = keyspace.differences(snapshot.keyspace, found)
    expired = snapshot.keyspace.keys - keys
    return Comparison(
        host=host,
        tables=buckets,
        rows=keys,
        objects=1,
        differences_total=len(said),
        differences=said[:DIFFERENCES_MAX],
        left_out=snapshot.left_out
        + ([f"{expired:,} keys that expired or were about to"] if expired > 0 and not said else []),
        seconds=round(time.monotonic() - started, 3),
    )


def _setting(client: redis.Redis, name: str) -> str:
    return str(client.config_get(name).get(name, ""))


def _restored(target: environment.Redis, started: float, left_out: list[str]) -> Restored:
    return Restored(host=target.host, seconds=round(time.monotonic() - started, 3), left_out=left_out)
