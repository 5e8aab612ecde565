"""Copies of a server, or of a snapshot, in a helper: the one place where content is digested, read and handed on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rollout import environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Progress, RedisSnapshot, quiet
from rollout.snapshots.redis import beside, compat, keyspace, logical, stream
from rollout.snapshots.redis.client import Server, connect
from rollout.snapshots.redis.helper import RDB, Helper, helper, require_memory
from rollout.snapshots.redis.programs import Program, choose
from rollout.snapshots.redis.sync import ReplicationRefused, copy, follow
from rollout.snapshots.redis.tunnel import way_to
from rollout.snapshots.workspace import require_space, workspace

Way = Literal["auto", "rdb", "records"]
RECORDS = "records.zst"


@dataclass(frozen=True)
class Copy:
    """A helper with a server's content. `form` and `why_records` as in a snapshot; `file` holds the bytes to store."""

    helper: Helper
    form: Literal["rdb", "records"]
    why_records: str
    file: Path


@contextmanager
def of_server(server: environment.Redis, about: Server, way: Way, progress: Progress = quiet) -> Iterator[Copy]:
    """Yield a copy of a server: by replication, or (`auto`: when that is refused) key by key.

    Raise Refused when no installed server reads its version or the machine has too little memory.
    """
    written = compat.of(about.product, about.version)
    program = choose(lambda p: p.reads(written), written)
    require_memory(about.used_bytes, server.host)
    with helper(server, program) as held:
        require_space(held.folder, about.used_bytes)
        if way == "records":
            why = "asked for"
        else:
            try:
                copy(server, held)
            except ReplicationRefused as error:
                if way == "rdb":
                    raise
                why = error.observed
            else:
                yield Copy(held, "rdb", "", held.rdb)
                return
        held.client.replicaof("NO", "ONE")
        yield _by_records(server, about, held, why, progress)


@contextmanager
def of_snapshot(
    snapshot: RedisSnapshot,
    store: ObjectStore,
    reaches: environment.Redis,
    program: Program | None = None,
    *,
    word: str = "",
    check: bool = True,
    progress: Progress = quiet,
) -> Iterator[Helper]:
    """Yield a helper that holds a snapshot and (`check`) has been compared with it, listening where `reaches` finds it.

    Raise Failed when object or content are not what was stored, Refused when nothing installed can hold it.
    """
    written = written_by(snapshot)
    program = program or choose(lambda p: p.reads(written), written)
    require_memory(snapshot.content.size, snapshot.host)
    with workspace("restore") as folder:
        require_space(folder, 2 * snapshot.content.size)
        file, kept = folder / RDB, snapshot.content
        store.download(kept.key, file, kept.sha256, version_id=kept.version_id or None)
        rdb = file if snapshot.form == "rdb" else None
        with helper(reaches, program, rdb, word) as held:
            if rdb is None:
                with open(file, "rb") as source:
                    logical.send(held.client, stream.commands(source), "the helper", progress)
                file.unlink()
                if functions := beside.get(snapshot, store).functions:
                    beside.restore_functions(held.client, functions)
            if check:
                _require_content(snapshot, held, progress)
            yield held


@contextmanager
def follower(server: environment.Redis, about: Server) -> Iterator[Helper]:
    """Yield a helper that holds what a server holds and goes on following it; raise as `of_server` does."""
    written = compat.of(about.product, about.version)
    require_memory(about.used_bytes, server.host)
    with helper(server, choose(lambda p: p.reads(written), written)) as held, way_to(server) as address:
        follow(server, held, address)
        yield held


def written_by(snapshot: RedisSnapshot) -> compat.Written:
    """Return what wrote a snapshot's content, and in which format."""
    major, minor = snapshot.version.split(".")[:2]
    return compat.Written(snapshot.rdb_version, snapshot.product, (int(major), int(minor)))


def _require_content(snapshot: RedisSnapshot, held: Helper, progress: Progress) -> None:
    found = keyspace.read(held.client, snapshot.keyspace.reference_ms, progress)
    said, _, _ = keyspace.differences(snapshot.keyspace, found)
    if said:
        raise Failed(
            f"the {snapshot.form} of {snapshot.host} does not hold what was digested: {said[0]}",
            next="take a new snapshot",
        )


def _by_records(server: environment.Redis, about: Server, held: Helper, why: str, progress: Progress) -> Copy:
    """Read a server key by key into a file, then that file into the helper: so it is known to be readable."""
    file = held.folder / RECORDS
    header = {"product": about.product, "version": about.full_version, "host": server.host, "consistency": "per key"}
    with connect(server) as client, open(file, "wb") as out:
        source = stream.Compressed(header, logical.restoring(logical.records(client, progress)))
        while block := source.read(stream.BLOCK_BYTES):
            out.write(block)
        functions = beside.read(client).functions
    with open(file, "rb") as back:
        logical.send(held.client, stream.commands(back), "the helper", progress)
    if functions:
        beside.restore_functions(held.client, functions)
    return Copy(held, "records", why, file)
