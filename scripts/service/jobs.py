"""Jobs: enqueued in Postgres, moved to Redis by the queuer, worked once.

Postgres decides, Redis only carries. The queuer pushes after its UPDATE and before its COMMIT: a crash in between
leaves rows that are still `queued` (moved again later) and entries that nobody may claim (dropped), never a job that
is `migrated_to_redis` and in no list. A worker claims the row under its lock, so a job that is pushed twice is worked
once. Locked rows are skipped, so neither waits for the other.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import redis.exceptions
from psycopg.types.json import Jsonb
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.requests import actor, answer, fields, identifier, parameter, stores_of
from service.stores import Row, Stores

DEAD_LETTER = "queue:dead-letter"
RECENT_SECONDS = 3600
MOVE_LIMIT_MAX = 1000
POP_SECONDS = 0.02
BACKOFF_MAX_SECONDS = 300.0


def list_key(queue_name: str, priority: int) -> str:
    """Return the Redis list of a job: <= 50 is high, > 150 is low, unless the queue's name says so itself."""
    suffix = ":high" if priority <= 50 else ":low" if priority > 150 else ""
    return f"queue:{queue_name}" + ("" if queue_name.endswith((":high", ":low")) else suffix)


def lists_of(queue_name: str) -> list[str]:
    """Return the lists that a worker of a queue looks at, the most urgent first."""
    base = f"queue:{queue_name}"
    return [base] if queue_name.endswith((":high", ":low")) else [f"{base}:high", base, f"{base}:low"]


async def enqueue(request: Request) -> Response:
    """POST /jobs: a queued job. Answer 201 with its id."""
    given = await fields(request, "queue_name", "payload")
    job = {
        "id": identifier(given.get("id")),
        "queue_name": given["queue_name"],
        "priority": int(given.get("priority", 100)),
        "payload": Jsonb(given["payload"]),
        "max_attempts": int(given.get("max_attempts", 3)),
        "run": given.get("run") or datetime.now(UTC),
        "tenant_id": _tenant(given["payload"]),
    }
    # A job of no tenant is the platform's own; whether the application may enqueue one is for the database to say.
    stores, acting = stores_of(request), actor(request, job["tenant_id"]) if job["tenant_id"] else None
    async with stores.transaction("queue", acting) as connection:
        await stores.run(connection, "queue", "enqueue", job)
    return answer({"id": job["id"], "status": "queued"}, 201)


def _tenant(payload: Any) -> str | None:
    """Return the tenant that a payload names; None when it names none, or something that is no UUID."""
    try:
        return str(uuid.UUID(payload["tenant_id"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


async def move(request: Request) -> Response:
    """POST /queue/move?limit=N: move ready jobs to Redis. Answer 200 with how many."""
    limit = request.query_params.get("limit", "100")
    if not limit.isdecimal() or not 0 < int(limit) <= MOVE_LIMIT_MAX:
        raise HTTPException(400, f"limit is 1 to {MOVE_LIMIT_MAX}, not {limit!r}")
    stores = stores_of(request)
    async with stores.work() as connection:
        ready = await stores.rows(connection, "queue", "move", {"limit": int(limit)})
        if ready:
            await _push(stores, sorted(ready, key=lambda job: (job["priority"], job["created"])))
    return answer({"moved": len(ready)})


async def _push(stores: Stores, ready: list[Row]) -> None:
    """Write hashes, recent sets and lists in one MULTI, the lists last within each job."""
    async with stores.redis.pipeline(transaction=True) as pipe:
        for job in ready:
            identity, queue = str(job["id"]), job["queue_name"]
            entry = {"id": identity, "queue_name": queue, "priority": job["priority"], "payload": job["payload"]}
            pipe.hset(
                f"job:{identity}",
                mapping={
                    "id": identity,
                    "queue_name": queue,
                    "status": "migrated_to_redis",
                    "priority": job["priority"],
                    "payload": json.dumps(job["payload"]),
                },
            )
            pipe.sadd(f"recent_jobs:{queue}", identity)
            pipe.expire(f"recent_jobs:{queue}", RECENT_SECONDS)
            pipe.lpush(list_key(queue, job["priority"]), json.dumps(entry))
        await pipe.execute()


async def work(request: Request) -> Response:
    """POST /jobs/work?queue=NAME: take one job and work it. Answer 200 with its id and completed, retried or dead, or
    nulls.

    What was popped is put back when anything goes wrong before COMMIT, and when the row is locked: by the queuer that
    has pushed and not committed yet, or by another worker.
    """
    queue = parameter(request, "queue")
    stores = stores_of(request)
    popped: Any = await stores.redis.brpop(lists_of(queue), timeout=POP_SECONDS)
    if popped is None:
        return answer({"job_id": None, "outcome": None})
    key, entry = popped
    try:
        outcome = await _attempt(stores, entry)
    except BaseException:
        await stores.redis.rpush(key, entry)
        raise
    if outcome is None:
        # To the far end of the list, so that the jobs behind it are not held up by the lock.
        await stores.redis.lpush(key, entry)
        return answer({"job_id": None, "outcome": None})
    identity = str(json.loads(entry)["id"])
    if outcome == "stale":
        return answer({"job_id": None, "outcome": None})
    await _note(stores, identity, outcome)
    return answer({"job_id": identity, "outcome": outcome})


async def _attempt(stores: Stores, entry: str) -> str | None:
    """Claim and work the job of an entry in one transaction; return its outcome, None when its row is locked, `stale`
    when Postgres does not say that it is to be worked."""
    popped = json.loads(entry)
    async with stores.work() as connection:
        job = await stores.first(connection, "queue", "claim", {"id": popped["id"]})
        if job is None:
            known = await stores.first(connection, "queue", "status_of", {"id": popped["id"]})
            return None if known is not None else "stale"
        if job["status"] != "migrated_to_redis":
            return "stale"
        attempt = int(job["attempt_count"] or 0) + 1
        outcome = _outcome(job["payload"], attempt, int(job["max_attempts"] or 1))
        message = "worked" if outcome == "completed" else f"attempt {attempt} failed as its payload asks"
        values: Row = {
            "id": job["id"],
            "queue_name": job["queue_name"],
            "attempt": attempt,
            "message": message,
            "started": datetime.now(UTC),
            "log_id": uuid.uuid4(),
            "outcome": "completed" if outcome == "completed" else "failed",
            "backoff_seconds": min(2.0 ** (attempt - 1), BACKOFF_MAX_SECONDS),
        }
        name = {"completed": "complete", "retried": "retry_later", "dead": "give_up"}[outcome]
        await stores.run(connection, "queue", name, values)
        await stores.run(connection, "queue", "log_attempt", values)
        if outcome == "dead":
            # Before COMMIT, like the queuer's push: a dead job may stand twice in the list, it cannot be missing.
            await stores.redis.lpush(DEAD_LETTER, entry)
    return outcome


def _outcome(payload: Any, attempt: int, max_attempts: int) -> str:
    """Return what becomes of an attempt; `fail_times` in the payload makes that many attempts fail."""
    fail_times = int(payload.get("fail_times", 0)) if isinstance(payload, dict) else 0
    if attempt > fail_times:
        return "completed"
    return "retried" if attempt < max_attempts else "dead"


async def _note(stores: Stores, identity: str, outcome: str) -> None:
    """Bring the job's hash up to date and let it expire; Postgres has the truth, so a failure here is no failure."""
    try:
        async with stores.redis.pipeline(transaction=True) as pipe:
            pipe.hset(f"job:{identity}", "status", outcome)
            pipe.expire(f"job:{identity}", RECENT_SECONDS)
            await pipe.execute()
    except redis.exceptions.RedisError:
        return
