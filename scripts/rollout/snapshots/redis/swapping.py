"""A live Redis given the content of a snapshot in place: one of the two ways into a live server, asked for by name.

Nothing is flushed. The server follows a helper for a moment, and is a primary again. Writers are held first, so that
what it held up to that moment is known and kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from rollout import environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Progress, RedisSnapshot, Swapped, quiet
from rollout.snapshots.redis import beside, guards, restoring, taking
from rollout.snapshots.redis.client import asked, command, connect
from rollout.snapshots.redis.copies import follower
from rollout.snapshots.redis.helper import MINE, Helper

PAUSE_MAX_SECONDS = 60
CAUGHT_UP_SECONDS = 10.0
POLL_SECONDS = 0.001


@dataclass
class _Pause:
    """How long writers waited, in ms."""

    paused_ms: float = 0.0
    started: float = field(default_factory=time.monotonic)


def swap_in(
    snapshot: RedisSnapshot,
    store: ObjectStore,
    target: environment.Redis,
    prefix: str,
    progress: Progress = quiet,
) -> Swapped:
    """Make a server, live ones too, hold what the snapshot holds; return what it held before, stored under `prefix`.

    In order: the snapshot is verified in a helper; the present content is stored; a second copy follows every write
    since; writers are held (CLIENT PAUSE), the copy is cut loose when it has the last of them, and the server takes the
    snapshot's content by replication. What had been written since is stored as a second snapshot, whose content is
    that of the very instant. A write that came before that moment and waits goes on in the new content; whoever asks
    after it is refused with READONLY or LOADING until the content is there. `exchange` refuses nobody. Raise Refused when the
    server does not read the snapshot, is a replica, or does not let itself be replicated: a merge is left then.
    """
    started = time.monotonic()
    about = asked(target)
    guards.require_readable(snapshot, target, about)
    guards.require_not_cluster(target, about)
    with connect(target) as client:
        beside.require_modules(snapshot, client, target.host)
        with restoring.primary_of(snapshot, store, target, about, client, progress) as source:
            before = taking.take_redis(target, store, f"{prefix.rstrip('/')}/replaced", progress, way="rdb")
            with follower(target, about) as kept:
                with _paused(client) as pause:
                    _catch_up(client, kept, target.host)
                    command(kept.client, "REPLICAOF", "NO", "ONE")
                    with restoring.following(client, source, target.host):
                        pass
                    replicas = int(client.info("replication")["connected_slaves"])
                last = taking.take_later(before, kept, store, f"{prefix.rstrip('/')}/replaced-last", progress)
    return Swapped(
        host=target.host,
        replaced=[before] if last is None else [before, last],
        paused_ms=round(pause.paused_ms, 1),
        replicas=replicas,
        seconds=round(time.monotonic() - started, 3),
    )


def release_redis(target: environment.Redis) -> bool:
    """Make a server a primary again that a killed exchange left as the replica of a helper that is gone; say whether.

    It then holds either its old content or the snapshot's, whole: compare it. Raise Failed when it follows something
    that answers, which is nobody's leftover.
    """
    with connect(target) as client:
        info: dict[str, Any] = client.info("replication")
        if info["role"] != "slave":
            return False
        if info.get("master_link_status") == "up" or info.get("master_sync_in_progress"):
            raise Failed(
                f"{target.host} follows {info['master_host']}:{info['master_port']}, which answers",
                limit="a replica of a helper that is gone",
                next="wait until the exchange that does it has ended",
            )
        command(client, "REPLICAOF", "NO", "ONE")
        if str(client.config_get("masterauth").get("masterauth", "")).startswith(MINE):
            client.config_set("masterauth", "")
        command(client, "CLIENT", "UNPAUSE")
    return True


@contextmanager
def _paused(client: redis.Redis) -> Iterator[_Pause]:
    """Let writers wait within the block, at most 60 s; a server that cannot lets them through."""
    pause = _Pause()
    try:
        command(client, "CLIENT", "PAUSE", PAUSE_MAX_SECONDS * 1000, "WRITE")
        can = True
    except redis.ResponseError:
        can = False
    try:
        yield pause
    finally:
        if can:
            command(client, "CLIENT", "UNPAUSE")
        pause.paused_ms = (time.monotonic() - pause.started) * 1000


def _catch_up(client: redis.Redis, kept: Helper, host: str) -> None:
    """Wait until a copy has every write of a server whose writers wait; raise Failed after 10 s."""
    deadline = time.monotonic() + CAUGHT_UP_SECONDS
    while time.monotonic() < deadline:
        wanted = int(client.info("replication")["master_repl_offset"])
        if int(kept.client.info("replication")["slave_repl_offset"]) >= wanted:
            return
        time.sleep(POLL_SECONDS)
    raise Failed(
        f"the copy of {host} does not catch up",
        limit=f"{CAUGHT_UP_SECONDS:.0f} s",
        next="drain what writes to it, try again",
    )
