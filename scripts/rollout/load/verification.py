"""The search for every acknowledged write, directly in the databases and in Redis: by sets, at any length of the
journal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import redis

from rollout.environment import Environment
from rollout.load import journal

SQL = Path(__file__).parent / "sql"
KINDS = {
    "oltp": ("campaign",),
    "content": ("message", "status"),
    "queue": ("job", "worked"),
    "olap": ("analytics",),
}
NAMED_MAX = 100
REDIS_CHUNK = 2000
PLACEMENT_ROUNDS = 3
PLACEMENT_PAUSE_SECONDS = 1.0


@dataclass
class Verification:
    """What was looked for and what was not found. The lists name the first 100, the counts are whole.

    `unacknowledged_writes` got no answer or a refusal: they may or may not be there, and are not looked for.
    `doubled_entries` are jobs that stand more than once in Redis, which is harmless as long as each is worked once.
    """

    acknowledged_writes: int = 0
    unacknowledged_writes: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    lost_writes: int = 0
    lost: list[dict[str, str]] = field(default_factory=list)
    duplicate_jobs: int = 0
    duplicates: list[dict[str, str]] = field(default_factory=list)
    counted_twice: int = 0
    doubled_entries: int = 0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether something was acknowledged, and all of it is there once. No writes is not a pass."""
        return self.acknowledged_writes > 0 and not (self.lost_writes or self.duplicate_jobs or self.counted_twice)

    def to_dict(self) -> dict[str, Any]:
        """Return the verification as JSON-native values."""
        return {**asdict(self), "passed": self.passed}


def verify(environment: Environment, journal_dir: str | Path) -> Verification:
    """Look up every acknowledged write of a load that has ended; raise psycopg.Error or RedisError when that cannot
    be done.

    Works in every phase of a rollout: it uses only names and columns that all of them have in common.
    """
    started, folder, result = time.monotonic(), Path(journal_dir), Verification()
    for line in journal.read(folder):
        if line["phase"] == "ack":
            result.acknowledged_writes += 1
            result.by_kind[line["kind"]] = result.by_kind.get(line["kind"], 0) + 1
        result.unacknowledged_writes += line["phase"] == "missed"
    with _journal_in(environment, "oltp", folder) as oltp:
        _script(oltp, "verify_oltp")
        _collect(oltp, result)
    with _journal_in(environment, "content", folder) as content:
        both = content.execute("SELECT to_regclass('public.content_inbox_message_refs') IS NOT NULL").fetchone() == (
            True,
        )
        _script(content, "messages_found_in_both" if both else "messages_found")
        _script(content, "verify_content")
        _collect(content, result)
    with _journal_in(environment, "queue", folder) as queue:
        _queue(queue, environment, result)
    with _journal_in(environment, "olap", folder) as olap:
        _script(olap, "verify_olap")
        _collect(olap, result)
        result.counted_twice = len(olap.execute(_sql("counted_twice")).fetchall())
    result.seconds = round(time.monotonic() - started, 2)
    return result


def _queue(queue: psycopg.Connection[Any], environment: Environment, result: Verification) -> None:
    """Check jobs, outcomes and places. Somebody else may be working the queue, so a job that seems to be in no list is
    looked for again: between two lists, or in a worker's hands, is not lost."""
    queue.execute("ANALYZE journal")
    _script(queue, "redis_entries")
    client = redis.Redis(
        environment.redis_of().address, environment.redis_of().port, socket_timeout=10, socket_connect_timeout=5
    )
    misplaced: list[tuple[str, int]] = []
    with client:
        for _round in range(PLACEMENT_ROUNDS):
            _script(queue, "migrated")
            with queue.cursor().copy("COPY redis_entries (list, key) FROM STDIN") as copy:
                for entry in _entries(client):
                    copy.write_row(entry)
            queue.execute("ANALYZE redis_entries")
            misplaced = queue.execute(_sql("misplaced")).fetchall()
            if not misplaced:
                break
            time.sleep(PLACEMENT_PAUSE_SECONDS)
    _script(queue, "verify_queue")
    with queue.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO lost VALUES ('job', %s, 'moved to Redis, but in no list')",
            [(key,) for key, times in misplaced if times == 0],
        )
    result.doubled_entries = sum(1 for _key, times in misplaced if times > 1)
    _collect(queue, result)
    for key, times in queue.execute(_sql("duplicates")):
        result.duplicate_jobs += 1
        if len(result.duplicates) < NAMED_MAX:
            result.duplicates.append({"key": key, "times": str(times)})


def _entries(client: redis.Redis) -> Iterator[tuple[str, str]]:
    """Yield (list, job id) for every entry of every queue list, in chunks."""
    for name in client.scan_iter(match="queue:*", count=1000, _type="list"):
        low = 0
        while chunk := client.lrange(name, low, low + REDIS_CHUNK - 1):
            for entry in chunk:
                yield name.decode(), str(json.loads(entry)["id"])
            low += REDIS_CHUNK


@contextmanager
def _journal_in(environment: Environment, tier: str, folder: Path) -> Iterator[psycopg.Connection[Any]]:
    """Connect to a tier and copy its part of the journal into a temporary table, which goes with the connection."""
    with psycopg.connect(environment.tier(tier)[0].conninfo("rollout-load-verify"), autocommit=True) as connection:
        _script(connection, "journal")
        with connection.cursor().copy("COPY journal (n, kind, phase, key, line) FROM STDIN") as copy:
            for line in journal.read(folder):
                if line["kind"] in KINDS[tier]:
                    copy.write_row((line["n"], line["kind"], line["phase"], line["key"], json.dumps(line)))
        yield connection


def _collect(connection: psycopg.Connection[Any], result: Verification) -> None:
    """Add what a tier lost to the result: the count whole, the names of the first."""
    with connection.cursor() as cursor:
        found = cursor.execute(
            "SELECT kind, key, why, count(*) OVER () FROM lost ORDER BY kind, key LIMIT %s", [NAMED_MAX]
        ).fetchall()
    if found:
        result.lost_writes += found[0][3]
        result.lost += [{"kind": kind, "key": key, "why": why} for kind, key, why, _ in found][
            : NAMED_MAX - len(result.lost)
        ]


def _sql(name: str) -> bytes:
    return (SQL / f"{name}.sql").read_bytes()


def _script(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(_sql(name))
