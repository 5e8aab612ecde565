"""A key that ties a Redis to the other parts of one snapshot: written before the copy, looked for after the restore."""

from __future__ import annotations

import redis
from redis.cluster import RedisCluster

from rollout import environment
from rollout.errors import Failed
from rollout.snapshots.records import now
from rollout.snapshots.redis.client import connect

PREFIX = "rollout:marker:"
KEPT_SECONDS = 400 * 86_400  # longer than any snapshot is kept: one that has expired would look like the wrong snapshot


def put(server: environment.Redis, name: str) -> None:
    """Write the marker; raise Failed when the server does not let us."""
    with connect(server) as client:
        put_with(client, server.host, name)


def put_with(client: redis.Redis | RedisCluster, host: str, name: str) -> None:
    """Write the marker with a client of one's own; raise Failed when the server does not let us."""
    try:
        client.set(PREFIX + name, now().isoformat(), ex=KEPT_SECONDS)
    except redis.RedisError as error:
        raise Failed(
            f"{host} did not take the marker {name}: {error}", next=f"let the runner's user write {PREFIX}*"
        ) from None


def has_marker(client: redis.Redis | RedisCluster, name: str) -> bool:
    """Say whether a server's first database holds the marker of a snapshot."""
    return bool(client.exists(PREFIX + name))
