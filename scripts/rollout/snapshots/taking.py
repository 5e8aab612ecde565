"""A whole snapshot in one call: every database and Redis at the same time, then the manifest. Needs no run and no lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis

from rollout.environment import Database, Environment, Redis, Tier
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import manifest as manifests
from rollout.snapshots.database import take_database
from rollout.snapshots.records import DatabaseSnapshot, Manifest, Progress, RedisSnapshot
from rollout.snapshots.redis.client import asked
from rollout.snapshots.redis.cluster import take_cluster
from rollout.snapshots.redis.taking import take_redis
from rollout.snapshots.retention import REDIS_TIER

Show = Callable[[dict[str, Any]], None]
EVERY_SECONDS = 1.0
SWEEP_AFTER_SECONDS = 24 * 3600.0


def take(env: Environment, store: ObjectStore, tiers: list[Tier], show: Show, *, who: str, why: str, run: str = "") -> Manifest:
    """Snapshot the live databases of the tiers, and Redis with the queue's; return the manifest once it exists.

    Raises Refused when the clocks of store and runner differ, else what the first that fails raised, once the others have ended:
    there is no snapshot then. `run`: whose evidence it is.
    """
    manifests.require_same_clock(store)
    store.sweep_uploads(manifests.ROOT, older_than_seconds=SWEEP_AFTER_SECONDS)
    prefix = manifests.new_prefix()
    databases = [database for tier in tiers for database in env.tier(tier)]
    servers = [one for one in env.redis if one.host_set == "live"] if REDIS_TIER in tiers else []
    with ThreadPoolExecutor(max_workers=len(databases) + len(servers)) as pool:
        of_databases = [pool.submit(_database, env, one, store, prefix, show) for one in databases]
        of_servers = [pool.submit(_redis, env, one, store, prefix, show) for one in servers]
    taken, copied = [one.result() for one in of_databases], [part for one in of_servers for part in one.result()]
    about = {"environment": env.name, "run": run, "who": who, "why": why, "marker": marker_name(prefix)}
    return manifests.commit(store, prefix, taken, copied, **about)


def options(env: Environment, tier: Tier, prefix: str) -> dict[str, Any]:
    """Return how a database of a tier is taken in this environment: streams, marker, days under lock."""
    settings = env.settings
    return {
        "jobs": settings.snapshot_jobs, "marker": marker_name(prefix), "keep_days": settings.snapshot_retention_days[tier],
    }  # fmt: skip


def marker_name(prefix: str) -> str:
    """Return the marker that ties together what is taken under a prefix."""
    return f"snapshot-{prefix.rstrip('/').rpartition('/')[2]}"


def _database(env: Environment, database: Database, store: ObjectStore, prefix: str, show: Show) -> DatabaseSnapshot:
    began = time.monotonic()
    say = reporter("snapshot", database.host, show)
    taken = take_database(database, store, prefix, say, **options(env, database.tier, prefix))
    words = f"done: {taken.contents.rows:,} rows, {taken.size / 2**20:.1f} MiB in {len(taken.parts)} objects"
    show({"step": "snapshot", "host": database.host, "rate": time.monotonic() - began, "text": words})
    return taken


def _redis(env: Environment, server: Redis, store: ObjectStore, prefix: str, show: Show) -> list[RedisSnapshot]:
    """Take a server, or each master of the cluster that it belongs to."""
    began, say, marker = time.monotonic(), reporter("snapshot", server.host, show), marker_name(prefix)
    try:
        days = env.settings.snapshot_retention_days[REDIS_TIER]
        if asked(server).cluster:
            taken = take_cluster(server, store, prefix, say, marker=marker, keep_days=days)
        else:
            taken = [take_redis(server, store, prefix, say, marker=marker, keep_days=days)]
    except redis.RedisError as error:
        words = f"Redis {server.host} could not be copied: {str(error) or type(error).__name__}"
        raise Failed(words, next="remove the cause, then run the same command", verdict="inconclusive") from None
    for one in taken:
        words = f"done: {one.keyspace.keys:,} keys, {one.content.size / 2**20:.1f} MiB, consistent {one.consistency}"
        show({"step": "snapshot", "host": one.host, "rate": time.monotonic() - began, "text": words})
    return taken


def reporter(step: str, host: str, show: Show) -> Progress:
    """Return a progress callback that shows one line a second at most, with what is left once that can be told."""
    began = [time.monotonic()]
    last = [began[0]]

    def say(what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - last[0] < EVERY_SECONDS:
            return
        last[0] = now
        left = (now - began[0]) * (total - done) / done if total and done else None
        show({"step": step, "host": host, "text": what, "done": done, "total": total, "eta_seconds": left})

    return say
