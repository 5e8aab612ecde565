"""The Redis side of the queue as found: exactly what the rows of `jobs` say, and a warm cache beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import redis

from rollout import environment
from rollout.seed.statements import text

PIPELINE_COMMANDS = 2_000
RECENT_SECONDS = 3_600
CACHE_SECONDS = 300
CACHED_CAMPAIGNS = 50
DEAD_LETTER = "queue:dead-letter"


def list_key(queue_name: str, priority: int) -> str:
    """Return the Redis list of a job: `queue:<queue_name>`, plus `:high` (priority <= 50) or `:low` (> 150).

    A queue whose own name ends in :high or :low is that list already and gets no second suffix.
    """
    key = f"queue:{queue_name}"
    if queue_name.endswith((":high", ":low")):
        return key
    if priority <= 50:
        return f"{key}:high"
    return key if priority <= 150 else f"{key}:low"


def fill(target: environment.Redis, queue: environment.Database, campaigns: list[str]) -> dict[str, int]:
    """Write lists, hashes, sets and cache strings from the rows of `jobs`; return keys and entries by kind.

    What an interrupted call left is removed first, so the outcome is the same however often it runs.
    """
    counts = {"redis.queued": 0, "redis.job_hashes": 0, "redis.dead_letters": 0, "redis.cached_campaigns": 0}
    client = redis.Redis(target.address, target.port, socket_timeout=10, socket_connect_timeout=5)
    with (
        client,
        psycopg.connect(queue.conninfo("rollout-seed")) as connection,
        client.pipeline(transaction=False) as pipe,
    ):
        for (name,) in connection.execute("select name from job_queues").fetchall():
            pipe.delete(*{list_key(name, priority) for priority in (50, 100, 200)}, f"recent_jobs:{name}")
        pipe.delete(DEAD_LETTER)
        recent: set[str] = set()
        for job, queue_name, status, priority, payload, attempts, error in _jobs(connection):
            item: dict[Any, Any] = {
                "id": job,
                "queue_name": queue_name,
                "payload": payload,
                "priority": priority,
                "attempt_count": attempts,
            }
            if status == "failed":
                pipe.lpush(DEAD_LETTER, json.dumps({**item, "error": error}))
                counts["redis.dead_letters"] += 1
            else:
                pipe.lpush(list_key(queue_name, priority), json.dumps(item))
                pipe.hset(f"job:{job}", mapping={**item, "payload": json.dumps(payload), "status": status})
                pipe.sadd(f"recent_jobs:{queue_name}", job)
                recent.add(queue_name)
                counts["redis.queued"] += 1
                counts["redis.job_hashes"] += 1
            if len(pipe) >= PIPELINE_COMMANDS:
                pipe.execute()
        for name in sorted(recent):
            pipe.expire(f"recent_jobs:{name}", RECENT_SECONDS)
        for campaign in campaigns:
            pipe.set(f"campaign:{campaign}", "valid", ex=CACHE_SECONDS)
            counts["redis.cached_campaigns"] += 1
        pipe.execute()
    return counts


def _jobs(
    connection: psycopg.Connection[tuple[str, ...]],
) -> Iterator[tuple[str, str, str, int, object, int, str | None]]:
    with connection.cursor("seed_jobs") as cursor:
        cursor.itersize = PIPELINE_COMMANDS
        cursor.execute(text("queue_keys").encode())
        yield from cursor
