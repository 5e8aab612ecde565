"""A Redis taken into the object store: as its own RDB, of one instant, or key by key where replication is refused.

Neither the server's disk nor a restart is needed. What is stored has been read back by a helper server, and digested
there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout import environment
from rollout.objectstore import ObjectStore, Stored
from rollout.snapshots.records import Progress, RedisSnapshot, Slots, StoredObject, now, quiet
from rollout.snapshots.redis import beside, compat, keyspace
from rollout.snapshots.redis import marker as markers
from rollout.snapshots.redis.client import asked, connect
from rollout.snapshots.redis.copies import Way, of_server
from rollout.snapshots.redis.helper import Helper

SUFFIX = {"rdb": "rdb", "records": "records.zst"}


def take_redis(
    server: environment.Redis,
    store: ObjectStore,
    prefix: str,
    progress: Progress = quiet,
    *,
    marker: str = "",
    way: Way = "auto",
    slots: list[Slots] | None = None,
    reference: datetime | None = None,
    keep_days: int | None = None,
) -> RedisSnapshot:
    """Store the content of `server` under `prefix`, and what no RDB holds beside it; return what a copy has to equal.

    `marker`: a name to write into the server before the copy, so that the copy holds it. `way`: `rdb`, by replication;
    `records`, key by key; `auto`: the first, or the second when the server refuses that. `slots`: of a cluster's master;
    `reference`: from when on its expiries are put into buckets, the same for all of them. `keep_days`:
    how long its objects are under lock, where the bucket locks.
    Raise Refused when no installed server reads its version or memory is short, Failed when it does not answer, the copy
    or the store fail.
    """
    started_at = now()
    until = started_at + timedelta(days=keep_days) if keep_days else None
    about = asked(server)
    if marker:
        markers.put(server, marker)
    with connect(server) as client:
        told = beside.read(client)
    with of_server(server, about, way, progress) as copied:
        reference_ms = int((reference or started_at).timestamp() * 1000)
        content = keyspace.read(copied.helper.client, reference_ms, progress)
        stored = store.upload(f"{_base(prefix, server)}.{SUFFIX[copied.form]}", copied.file, retain_until=until)
        return RedisSnapshot(
            host=server.host,
            address=server.address,
            port=server.port,
            run_id=about.run_id,
            product=about.product,
            version=about.full_version,
            rdb_version=(
                compat.of_file(copied.file, about.product, about.version)
                if copied.form == "rdb"
                else compat.of(about.product, about.version)
            ).rdb,
            helper_version=copied.helper.program.name,
            form=copied.form,
            consistency="instant" if copied.form == "rdb" else "per key",
            why_records=copied.why_records,
            content=_object(stored),
            beside=beside.put(store, f"{_base(prefix, server)}.beside.json", told, until),
            keyspace=content,
            slots=slots or [],
            modules=told.modules,
            marker=marker,
            acl_users=len(told.users),
            left_out=_left_out(told),
            started_at=started_at,
            finished_at=now(),
        )


def take_later(
    earlier: RedisSnapshot, held: Helper, store: ObjectStore, prefix: str, progress: Progress = quiet
) -> RedisSnapshot | None:
    """Store what a follower of the same server, cut loose since, holds; None when that is what `earlier` holds.

    The RDB is the helper's own, so the record names the helper's program as the one that wrote it.
    """
    started_at = now()
    held.stand_still()
    content = keyspace.read(held.client, earlier.keyspace.reference_ms, progress)
    if not keyspace.differences(earlier.keyspace, content)[0]:
        return None
    held.client.save()
    program = held.program
    stored = store.upload(f"{prefix.rstrip('/')}/redis/{earlier.host}.rdb", held.rdb)
    return earlier.model_copy(
        update={
            "product": program.product,
            "version": f"{program.version[0]}.{program.version[1]}",
            "rdb_version": compat.of_file(held.rdb, program.product, program.version).rdb,
            "content": _object(stored),
            "keyspace": content,
            "started_at": started_at,
            "finished_at": now(),
        }
    )


def _base(prefix: str, server: environment.Redis) -> str:
    return f"{prefix.rstrip('/')}/redis/{server.host}"


def _object(stored: Stored) -> StoredObject:
    return StoredObject(key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size)


def _left_out(told: beside.Beside) -> list[str]:
    return [
        "settings that hold a password",
        "when entries of streams were delivered (in the copy, not in the digest)",
        *(f"not told: {what}" for what in told.unknown),
    ]
