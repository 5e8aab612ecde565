"""A Redis cluster: its masters and their slots, one snapshot of each, and the way back into any layout."""

from __future__ import annotations

import time

from redis.cluster import RedisCluster

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Comparison, Progress, RedisSnapshot, Restored, now, quiet
from rollout.snapshots.redis import compat, copies, guards, keyspace, logical, restoring, taking
from rollout.snapshots.redis import marker as markers
from rollout.snapshots.redis.client import asked, connect, password
from rollout.snapshots.redis.layout import Master, masters, positions, shown


def take_cluster(
    server: environment.Redis,
    store: ObjectStore,
    prefix: str,
    progress: Progress = quiet,
    *,
    marker: str = "",
    way: copies.Way = "auto",
    keep_days: int | None = None,
) -> list[RedisSnapshot]:
    """Store one snapshot of each master, one after the other, so that one copy at a time is in the runner's memory.

    They are of different instants. The marker, one key, is in the copy of the master that has its slot. `keep_days`: how long
    their objects are under lock, where the bucket locks. Raise Failed when slots moved meanwhile: keys may then be in two copies
    or in none.
    """
    before = masters(server)
    if marker:
        with _client(server) as client:
            markers.put_with(client, server.host, marker)
    reference = now()
    taken = [
        taking.take_redis(node, store, prefix, progress, way=way, slots=slots, reference=reference, keep_days=keep_days)
        for node, slots in before
    ]
    if masters(server) != before:
        raise Failed(
            f"slots of the cluster of {server.host} moved while it was copied",
            next="take it again when nothing is resharded",
        )
    return [one.model_copy(update={"marker": marker}) for one in taken]


def restore_cluster(
    snapshots: list[RedisSnapshot],
    store: ObjectStore,
    target: environment.Redis,
    progress: Progress = quiet,
    *,
    way: restoring.RestoreWay = "auto",
) -> Restored:
    """Make a cluster that is not live hold what the snapshots of another one's masters hold.

    The same layout: each into its master. Another one: only with `way='logical'`, each key to where its slot is; keys of
    the target that no snapshot has make it refuse, since nothing is flushed.
    """
    started = time.monotonic()
    nodes = masters(target)
    by_slots = {frozenset(positions(slots)): node for node, slots in nodes}
    pairs = [(one, by_slots.get(frozenset(positions(one.slots)))) for one in snapshots]
    if all(node is not None for _, node in pairs):
        done = [restoring.restore_redis(one, store, node, progress) for one, node in pairs if node is not None]
        left_out = sorted({what for one in done for what in one.left_out})
    elif way != "logical":
        raise Refused(
            f"the cluster of {target.host} has {'; '.join(shown(slots) for _, slots in nodes)}",
            limit="; ".join(shown(one.slots) for one in snapshots),
            next="restore it the logical way (way='logical')",
            page="runbooks/restore.md",
        )
    else:
        left_out = _routed(snapshots, store, target, nodes, progress)
    return Restored(host=target.host, seconds=round(time.monotonic() - started, 3), left_out=left_out)


def compare_cluster(
    snapshots: list[RedisSnapshot], target: environment.Redis, progress: Progress = quiet, *, way: copies.Way = "auto"
) -> Comparison:
    """Compare a cluster's whole content with that of the snapshots, whichever master holds a key."""
    started = time.monotonic()
    whole = snapshots[0].model_copy(update={"keyspace": keyspace.total(one.keyspace for one in snapshots)})
    found = []
    for node, _ in masters(target):
        with copies.of_server(node, asked(node), way, progress) as copied:
            found.append(keyspace.read(copied.helper.client, whole.keyspace.reference_ms, progress))
    return restoring.compared(whole, target.host, keyspace.total(found), started)


def _routed(
    snapshots: list[RedisSnapshot],
    store: ObjectStore,
    target: environment.Redis,
    nodes: list[Master],
    progress: Progress,
) -> list[str]:
    for node, _ in nodes:
        about = asked(node)
        guards.require_not_live(node)
        with connect(node) as client:
            if client.dbsize():
                raise Refused(
                    f"{node.host} holds {client.dbsize():,} keys", limit="an empty cluster", next="name a fresh one"
                )
        for one in snapshots:
            compat.require_reads(copies.written_by(one), node.host, about.product, about.version)
    with _client(target) as client:
        for one in snapshots:
            with copies.of_snapshot(one, store, target, progress=progress) as source:
                logical.send(client, logical.restoring(logical.records(source.client, progress)), target.host, progress)
    return sorted({what for one in snapshots for what in one.left_out} | {"functions"})


def _client(server: environment.Redis) -> RedisCluster:
    return RedisCluster(
        host=server.address, port=server.port, username=server.user, password=password(server), ssl=server.tls,
        ssl_ca_certs=server.tls_ca,
    )  # fmt: skip
