"""A snapshot of Redis brought into the live one, whole or by a pattern of keys, and back; never FLUSHALL.

Whole: loaded into databases that are empty, compared, and exchanged with those in use by their numbers, in one step. By pattern:
each key replaced whole. Either way what was there is kept, and what was done is an object in the store; `undo` goes back from it.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rollout import order, runs, snapshots
from rollout.environment import Environment
from rollout.errors import BadInput, Failed
from rollout.objectstore import ObjectStore
from rollout.restoring.bringing import PAGE, Show
from rollout.snapshots import manifest as manifests
from rollout.snapshots.records import Exchanged, Manifest, Merged, QueueConsistency, RedisSnapshot
from rollout.snapshots.taking import reporter

FOLDER = "restores/redis/"


class Done(BaseModel):
    """What was done to the live Redis, and whether it was taken back since."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    act: Literal["exchange", "merge", "undo"]
    snapshot: str
    run: str
    exchanged: Exchanged | None = None
    merged: Merged | None = None


def bring(
    env: Environment, store: ObjectStore, manifest: Manifest, show: Show, *, pattern: str, delete_absent: bool, why: str
) -> Done:
    """Bring the snapshot's Redis into the live one, under the environment's lease; `pattern` "" is all of it.

    Raises BadInput when the snapshot holds no such server, Refused where the server or a run under way does not allow it.
    """
    target = env.redis_of("live")
    taken = _taken(manifest, target.host)
    say = reporter("redis", target.host, show)
    with _session(env, store, {"host": target.host, "snapshot": manifest.id, "pattern": pattern, "why": why}) as session:
        prefix = f"{FOLDER}{manifests.new_prefix().rpartition('/')[2]}"
        session.check()
        if pattern:
            merged = snapshots.merge_redis(taken, store, target, pattern, prefix, say, delete_absent=delete_absent)
            done = Done(act="merge", snapshot=manifest.id, run=session.run, merged=merged)
        else:
            exchanged = snapshots.exchange_redis(taken, store, target, prefix, say)
            done = Done(act="exchange", snapshot=manifest.id, run=session.run, exchanged=exchanged)
        store.create(f"{prefix}/done.json", done.model_dump_json(indent=1).encode())
        session.journal.append("act_done", act=order.RESTORE, redis=target.host, how=done.act, kept=prefix)
    return done


def undo(env: Environment, store: ObjectStore, show: Show, *, why: str) -> Done:
    """Take back the last thing that was done to the live Redis; raise BadInput when there is nothing, or it is taken back."""
    keys = [key for key in store.keys(FOLDER) if key.endswith("/done.json")]
    if not keys:
        raise BadInput("no snapshot was brought into the live Redis", next="invoke snapshot.list", page=PAGE)
    try:
        last = Done.model_validate_json(store.read(keys[-1])[0])
    except ValidationError as error:
        words = f"{keys[-1]} cannot be understood: {error.errors()[0]['msg']}"
        raise Failed(words, next="use the version of this program that wrote it") from None
    if last.act == "undo":
        raise BadInput("the last thing was taken back already", next="invoke restore.redis --snapshot ID", page=PAGE)
    target = env.redis_of("live")
    with _session(env, store, {"host": target.host, "undo": keys[-1], "why": why}) as session:
        prefix = f"{FOLDER}{manifests.new_prefix().rpartition('/')[2]}"
        session.check()
        merged = None
        if last.exchanged is not None:
            snapshots.take_back_redis(last.exchanged, target)
        elif last.merged is not None:
            merged = snapshots.undo_merge_redis(last.merged, store, target, prefix, reporter("redis", target.host, show))
        done = Done(act="undo", snapshot=last.snapshot, run=session.run, exchanged=last.exchanged, merged=merged)
        store.create(f"{prefix}/done.json", done.model_dump_json(indent=1).encode())
        session.journal.append("act_done", act=order.RESTORE, redis=target.host, how="undo", of=keys[-1])
    return done


def queue(env: Environment, store: ObjectStore, show: Show, *, apply: bool) -> QueueConsistency:
    """Say where Redis and the queue database disagree about jobs; with `apply` put it right by the rule of each class."""
    server, databases = env.redis_of("live"), env.tier("queue")
    if len(databases) != 1:
        words = f"{len(databases)} queue databases share one Redis"
        raise BadInput(words, limit="one", next="reconcile them by hand", page=PAGE)
    say = reporter("queue", server.host, show)
    if not apply:
        return snapshots.check_queue(server, databases[0], say)
    with _session(env, store, {"host": server.host, "act": "reconcile"}) as session:
        session.check()
        found = snapshots.reconcile_queue(server, databases[0], say, apply=True)
        session.journal.append("queue_reconciled", **found.model_dump(mode="json"))
    return found


def _session(env: Environment, store: ObjectStore, facts: dict[str, Any]) -> runs.Session:
    return runs.open_act(
        store, env.name, order.RESTORE, operator=getpass.getuser(), lease_seconds=env.settings.lease_seconds,
        mirror=Path(env.artifacts), change=lambda state: None, allow=order.allow_restore, facts=facts,
    )  # fmt: skip


def _taken(manifest: Manifest, host: str) -> RedisSnapshot:
    found = next((one for one in manifest.redis if one.host == host), None)
    if found is None:
        held = ", ".join(one.host for one in manifest.redis) or "no Redis"
        raise BadInput(f"{manifest.id} holds no {host}", limit=f"one of {held}", next="invoke snapshot.list", page=PAGE)
    return found
