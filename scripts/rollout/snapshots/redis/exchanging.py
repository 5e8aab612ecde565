"""A live Redis given the content of a snapshot by an exchange of database numbers, as tables are by their names.

The content is loaded into empty databases of the same server while it serves; SWAPDB then exchanges all at once. Nobody
waits, nothing is refused, replicas follow, and what was there stays under the other number, up to the last write, until
it is discarded by name. Costs the memory of both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import redis

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Exchanged, Progress, RedisSnapshot, StoredObject, now, quiet
from rollout.snapshots.redis import beside, compat, guards, logical, restoring, rewrite, stream, taking
from rollout.snapshots.redis.client import Server, asked, batch, command, connect, databases, encode, scan
from rollout.snapshots.redis.copies import of_snapshot
from rollout.snapshots.redis.helper import Helper

LOADING = b"rollout:aside:loading"


def exchange(
    snapshot: RedisSnapshot, store: ObjectStore, target: environment.Redis, prefix: str, progress: Progress = quiet
) -> Exchanged:
    """Make the databases of a server, live ones too, hold what the snapshot's do; keep what they held under `aside`.

    A snapshot of the present content is stored under `prefix` first. Functions stay as they are. Raise Refused for a
    replica, a cluster's node, too few empty databases or too little memory; Failed when not every key arrived.
    """
    started = time.monotonic()
    about = asked(target)
    guards.require_primary(target, about)
    guards.require_not_cluster(target, about)
    with connect(target) as client:
        beside.require_modules(snapshot, client, target.host)
        _sweep(client)
        aside = _aside(snapshot, client, target.host)
        _require_memory(client, about, target.host)
        replaced = taking.take_redis(target, store, f"{prefix.rstrip('/')}/replaced", progress)
        with of_snapshot(snapshot, store, target, progress=progress) as source:
            try:
                left_out = _load(source, client, about, aside, target.host, progress)
                keys = _require_loaded(source.client, client, aside, target.host)
                began = time.monotonic()
                _swap(client, aside, target.host, loaded=True)
                swap_ms = (time.monotonic() - began) * 1000
            except BaseException:
                _sweep(client)
                raise
    return Exchanged(
        host=target.host, replaced=replaced, aside=aside, keys=keys, swap_ms=round(swap_ms, 1), left_out=left_out,
        seconds=round(time.monotonic() - started, 3),
    )  # fmt: skip


def take_back(exchanged: Exchanged, target: environment.Redis) -> None:
    """Exchange the numbers again: the databases hold what they held before, and what was written since goes aside."""
    with connect(target) as client:
        _swap(client, exchanged.aside, target.host, loaded=False)


def discard(
    exchanged: Exchanged, store: ObjectStore, target: environment.Redis, prefix: str, progress: Progress = quiet
) -> list[StoredObject]:
    """Store what lies aside as records under `prefix`, then unlink it, 500 keys at a time; return what was stored."""
    stored = []
    with connect(target) as client:
        for database, number in exchanged.aside.items():
            header = {"host": target.host, "database": database, "consistency": "instant"}
            source = stream.Compressed(header, _renumbered(logical.restoring(logical.records(client, progress, only=number)),
                                                           {number: database}))  # fmt: skip
            kept = store.upload(f"{prefix.rstrip('/')}/redis/{target.host}.aside-{database}.records.zst", source)  # type: ignore[arg-type]
            stored.append(StoredObject(key=kept.key, version_id=kept.version_id, sha256=kept.sha256, size=kept.size))
            _unlink(client, number)
    return stored


def _load(
    source: Helper, client: redis.Redis, about: Server, aside: dict[int, int], host: str, progress: Progress
) -> list[str]:
    for number in aside.values():
        batch(client, [encode(["SELECT", number]), encode(["SET", LOADING, now().isoformat()]), encode(["SELECT", 0])])
    modern = about.version >= restoring.MODERN
    if compat.reads(source.program.writes(), about.product, about.version):
        commands: Iterable[stream.Words] = logical.restoring(logical.records(source.client, progress))
    else:
        commands = rewrite.replacing(rewrite.rewritten(source), functions=False, modern=modern)
    logical.send(client, _renumbered(commands, aside), host, progress)
    return ["functions"] if beside.read(source.client).functions else []


def _swap(client: redis.Redis, aside: dict[int, int], host: str, *, loaded: bool) -> None:
    steps = []
    for database, number in aside.items():
        if loaded:
            steps += [encode(["SELECT", number]), encode(["UNLINK", LOADING])]
        steps.append(encode(["SWAPDB", database, number]))
    answers = batch(client, [encode(["MULTI"]), *steps, encode(["SELECT", 0]), encode(["EXEC"])])
    wrong = [one for one in (answers[-1] if isinstance(answers[-1], list) else answers) if isinstance(one, Exception)]
    if wrong:
        raise Failed(f"{host} did not exchange its databases: {wrong[0]}", next="let the runner's user SWAPDB")


def _aside(snapshot: RedisSnapshot, client: redis.Redis, host: str) -> dict[int, int]:
    """Return an empty database for each that the snapshot or the server has, from the highest number down."""
    held = {number for number, _, _ in databases(client)}
    wanted = sorted(held | {int(name.partition("/")[0]) for name in snapshot.keyspace.buckets})
    have = int(str(client.config_get("databases").get("databases", 16)))
    free = [number for number in reversed(range(have)) if number not in wanted]
    if len(free) < len(wanted):
        raise Refused(
            f"{host} has {len(free)} empty databases", limit=f"{len(wanted)}", next="use swap_in, which needs none"
        )
    return dict(zip(wanted, free, strict=False))


def _require_memory(client: redis.Redis, about: Server, host: str) -> None:
    most = int(client.info("memory").get("maxmemory", 0))
    if most and about.used_bytes * 2 > most:
        raise Refused(
            f"{host} uses {about.used_bytes / 2**20:,.0f} MiB",
            limit=f"half of its maxmemory, {most / 2**20:,.0f} MiB, to hold old and new",
            next="use swap_in, or raise maxmemory",
        )


def _require_loaded(source: redis.Redis, client: redis.Redis, aside: dict[int, int], host: str) -> int:
    """Return how many keys that never expire have arrived; raise Failed when one is missing."""
    ours, theirs = ({n: keys - expires for n, keys, expires in databases(end)} for end in (source, client))
    for database, number in aside.items():
        if ours.get(database, 0) != theirs.get(number, 0) - 1:  # one is the mark
            raise Failed(
                f"{theirs.get(number, 0) - 1:,} keys arrived in database {number} of {host}",
                limit=f"{ours.get(database, 0):,} that never expire",
                next="nothing was exchanged: see whether somebody writes there, then try again",
            )
    return sum(ours.values())


def _renumbered(commands: Iterable[stream.Words], numbers: dict[int, int]) -> Iterator[stream.Words]:
    for words in commands:
        yield [b"SELECT", b"%d" % numbers[int(words[1])]] if words[0] == b"SELECT" else words


def _sweep(client: redis.Redis) -> None:
    """Unlink what a load that was killed has left, which its mark tells."""
    for number, _, _ in databases(client):
        marked = batch(client, [encode(["SELECT", number]), encode(["EXISTS", LOADING]), encode(["SELECT", 0])])[1]
        if marked:
            _unlink(client, number, last=LOADING)


def _unlink(client: redis.Redis, number: int, last: bytes | None = None) -> None:
    command(client, "SELECT", number)
    for keys in scan(client, logical.BATCH_KEYS):
        gone = [key for key in keys if key != last]
        if gone:
            command(client, "UNLINK", *gone)
    if last is not None:
        command(client, "UNLINK", last)
    command(client, "SELECT", 0)
