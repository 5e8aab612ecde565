"""A Redis at one instant: taken into the object store, restored into staging, and compared with any copy of it.

Only replication is asked of the servers, so neither their disks nor a restart are needed. ACL users and CONFIG are not
part of an RDB and not of this snapshot either; the manifest says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import redis

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots import redis_keyspace
from rollout.snapshots.database_restore import require_staging
from rollout.snapshots.records import (
    DIFFERENCES_MAX,
    Comparison,
    Keyspace,
    Progress,
    RedisSnapshot,
    Restored,
    StoredObject,
    now,
    quiet,
)
from rollout.snapshots.redis_helper import (
    RDB,
    Program,
    command,
    connect,
    copy,
    helper,
    identity,
    major_minor,
    put_back,
    wait_for_sync,
)
from rollout.snapshots.workspace import require_space, workspace

LEFT_OUT = ["ACL users", "CONFIG", "consumer groups of streams (in the RDB, not in the digest)"]


def take_redis(server: environment.Redis, store: ObjectStore, prefix: str, progress: Progress = quiet) -> RedisSnapshot:
    """Store an RDB of `server` under `prefix` and return what a copy of it has to equal.

    The server is copied to a helper replica, which is then cut loose: digest and RDB come from there. Raise Refused
    when no installed server can read its version, Failed when it does not answer, the sync or the store fail.
    """
    started_at = now()
    product, version, run_id, acl_users = _asked(server)
    with helper(server, _reads(product, version)) as copied:
        copy(server, copied)
        reference_ms = int(started_at.timestamp() * 1000)
        keyspace = redis_keyspace.read(copied.client, reference_ms, progress)
        copied.client.save()
        stored = store.upload(f"{prefix.rstrip('/')}/redis/{server.host}.rdb", copied.folder / RDB)
        helper_version = ".".join(map(str, copied.program.version))
    return RedisSnapshot(
        host=server.host,
        address=server.address,
        port=server.port,
        run_id=run_id,
        product=product,
        version=version,
        helper_version=f"{copied.program.product} {helper_version}",
        rdb=StoredObject(key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size),
        keyspace=keyspace,
        acl_users=acl_users,
        left_out=LEFT_OUT,
        started_at=started_at,
        finished_at=now(),
    )


def restore_redis(
    snapshot: RedisSnapshot, store: ObjectStore, target: environment.Redis, progress: Progress = quiet
) -> Restored:
    """Replace the content of the staging Redis `target` by the snapshot's, without a restart.

    The RDB's SHA-256 and, in a helper server, its digest are verified before the target is touched. Raise Refused when
    `target` is not of the staging host set, is the server the snapshot came from, or cannot read the snapshot's
    version; Failed otherwise.
    """
    started = time.monotonic()
    require_staging(target.host, target.host_set)
    product, version, run_id, _ = _asked(target)
    if run_id == snapshot.run_id or (target.address, target.port) == (snapshot.address, snapshot.port):
        raise Refused(
            f"{target.host} is the server that the snapshot was taken from",
            limit="a server of its own",
            next=f"correct the address of {target.host} in the inventory",
            page="runbooks/restore.md",
        )
    if product != snapshot.product or major_minor(version) < major_minor(snapshot.version):
        raise Refused(
            f"{target.host} is {product} {version}",
            limit=f"{snapshot.product} {snapshot.version} or newer, as the snapshot",
            next=f"run {target.host} on the version of {snapshot.host}",
        )
    with workspace("restore") as folder:
        require_space(folder, 2 * snapshot.rdb.size)
        store.download(snapshot.rdb.key, folder / RDB, snapshot.rdb.sha256, version_id=snapshot.rdb.version_id or None)
        with helper(target, _feeds(snapshot, product, version), folder / RDB) as source:
            found = redis_keyspace.read(source.client, snapshot.keyspace.reference_ms, progress)
            said, _, _ = redis_keyspace.differences(snapshot.keyspace, found)
            if said:
                raise Failed(
                    f"the RDB of {snapshot.host} does not hold what was digested: {said[0]}", next="take a new snapshot"
                )
            client = connect(target)
            with put_back(client, "masterauth", source.password):
                try:
                    command(client, "REPLICAOF", source.address, source.port)
                    wait_for_sync(client, target.host)
                finally:
                    command(client, "REPLICAOF", "NO", "ONE")
    return Restored(host=target.host, seconds=round(time.monotonic() - started, 3), left_out=snapshot.left_out)


def prove_redis(snapshot: RedisSnapshot, store: ObjectStore, progress: Progress = quiet) -> Comparison:
    """Load the stored RDB into a private server and compare every key with the snapshot; no other server is touched.

    Raise Failed when the object is not what was stored or cannot be loaded, Refused when no installed server can read it.
    """
    started = time.monotonic()
    nowhere = environment.Redis(host=snapshot.host, host_set="staging", address="127.0.0.1", port=snapshot.port)
    written_by = snapshot.helper_version.partition(" ")

    def fits(program: Program) -> bool:
        return program.product == written_by[0] and program.version >= major_minor(written_by[2])

    with workspace("prove") as folder:
        require_space(folder, 2 * snapshot.rdb.size)
        store.download(snapshot.rdb.key, folder / RDB, snapshot.rdb.sha256, version_id=snapshot.rdb.version_id or None)
        with helper(nowhere, fits, folder / RDB) as loaded:
            found = redis_keyspace.read(loaded.client, snapshot.keyspace.reference_ms, progress)
    return _comparison(snapshot, found, snapshot.host, started)


def compare_redis(snapshot: RedisSnapshot, target: environment.Redis, progress: Progress = quiet) -> Comparison:
    """Compare every key of `target` that is not about to expire with the snapshot, on a copy of it in a helper
    server."""
    started = time.monotonic()
    product, version, _, _ = _asked(target)
    with helper(target, _reads(product, version)) as copied:
        copy(target, copied)
        found = redis_keyspace.read(copied.client, snapshot.keyspace.reference_ms, progress)
    return _comparison(snapshot, found, target.host, started)


def _comparison(snapshot: RedisSnapshot, found: Keyspace, host: str, started: float) -> Comparison:
    said, buckets, keys = redis_keyspace.differences(snapshot.keyspace, found)
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


def _asked(server: environment.Redis) -> tuple[str, str, str, int]:
    try:
        with connect(server) as client:
            try:
                users = len(cast(list[bytes], client.acl_list()))
            except redis.ResponseError:
                users = 0
            return *identity(client), users
    except redis.ConnectionError as error:
        raise Failed(f"Redis {server.host} does not answer: {error}", next="invoke sandbox.status") from None


def _reads(product: str, version: str) -> Callable[[Program], bool]:
    """Return whether a program can be a replica of such a server; Valkey reads what Redis up to 7.2 writes."""

    def fits(program: Program) -> bool:
        if program.product == product:
            return program.version >= major_minor(version)
        return program.product == "valkey" and major_minor(version) <= (7, 2)

    return fits


def _feeds(snapshot: RedisSnapshot, product: str, version: str) -> Callable[[Program], bool]:
    """Return whether a program can read the snapshot and be the primary of such a target: not newer than it."""
    written_by = major_minor(snapshot.helper_version.partition(" ")[2])

    def fits(program: Program) -> bool:
        return program.product == product and written_by <= program.version <= major_minor(version)

    return fits
