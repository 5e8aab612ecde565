"""Chunked work: short transactions whose size follows a target time, each with its checkpoint and under the fence.

A work file is one statement: it takes %(after)s (the last key done as text, NULL at the start) and %(limit)s rows, and
returns one row: last_key (NULL when nothing was left) and the number of rows. Work can stop at any instant; the next
call goes on behind the last committed chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql

from rollout.engine import ledger
from rollout.engine.ledger import Connection, Fence
from rollout.environment import Settings
from rollout.errors import Failed

FIRST_LIMIT = 500
SMALLEST_LIMIT = 50
LARGEST_LIMIT = 20_000
REST_SHARE = 0.25  # of a chunk's time spent idle after it, so that a copy never takes all of a core
# Below deadlock_timeout (1 s): where a chunk and a client wait for each other, the chunk is the one that gives way.
LOCK_TIMEOUT = "400ms"
YIELDS_MAX = 50
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Done:
    """What a piece of chunked work did in this call: rows, chunks, seconds, and the longest chunk in milliseconds."""

    work: str
    rows: int
    chunks: int
    seconds: float
    longest_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values with the rate in rows per second."""
        rate = round(self.rows / self.seconds) if self.seconds > 0 else None
        return {
            "work": self.work,
            "rows": self.rows,
            "chunks": self.chunks,
            "seconds": round(self.seconds, 3),
            "longest_ms": round(self.longest_ms, 1),
            "rows_per_s": rate,
        }


@dataclass(frozen=True)
class Work:
    """A piece of chunked work: its change, its name, and the statement of a first and of a further chunk."""

    change: str
    name: str
    first: bytes
    further: bytes


def run(connection: Connection, work: Work, fence: Fence, settings: Settings, report: Report) -> Done:
    """Run a piece of work to its end; raise Fenced when another runner took over, Failed when clients are always in its way.

    `report(work's name, rows so far including earlier calls, rows per second)` is called after each chunk.
    """
    size = ChunkSize(settings.chunk_target_ms)
    started, rows, chunks, longest, yields = time.monotonic(), 0, 0, 0.0, 0
    done_before = ledger.checkpoint(connection, work.change, work.name)
    if done_before["finished"]:
        return Done(work.name, 0, 0, 0.0, 0.0)
    after: str | None = done_before["last_key"]
    while True:
        chunk_started = time.monotonic()
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
                ledger.check(connection, fence)
                row = connection.execute(
                    work.first if after is None else work.further, {"after": after, "limit": size.limit}, prepare=False
                ).fetchone()
                last_key, copied = tuple((row or {}).values())[:2]
                ledger.advance(connection, work.change, work.name, last_key, copied)
        except (errors.DeadlockDetected, errors.LockNotAvailable, errors.SerializationFailure) as error:
            yields += 1
            if yields > YIELDS_MAX:
                raise Failed(
                    f"{work.change}/{work.name} gave way to clients {yields} times behind key {after} ({type(error).__name__})",
                    limit=f"{YIELDS_MAX} times",
                    next="find who holds these rows; the same command goes on behind the last chunk",
                ) from None
            size.took(2 * size.target_seconds)
            time.sleep(size.target_seconds)
            continue
        seconds = time.monotonic() - chunk_started
        rows, chunks, longest = rows + copied, chunks + 1, max(longest, seconds * 1000)
        report(work.name, done_before["rows"] + rows, rows / (time.monotonic() - started))
        if last_key is None:
            return Done(work.name, rows, chunks, time.monotonic() - started, longest)
        after = last_key
        size.took(seconds)
        time.sleep(seconds * REST_SHARE)


class ChunkSize:
    """The next chunk's number of rows: follows the target time, at most doubling or halving at once."""

    def __init__(self, target_ms: int, *, largest: int = LARGEST_LIMIT) -> None:
        """`target_ms`: how long one chunk should take; `largest`: never more rows than that."""
        self.target_seconds = target_ms / 1000
        self.largest = largest
        self.limit = FIRST_LIMIT

    def took(self, seconds: float) -> None:
        """Adapt to how long the last chunk took."""
        factor = min(2.0, max(0.5, self.target_seconds / max(seconds, 1e-6)))
        self.limit = min(self.largest, max(SMALLEST_LIMIT, int(self.limit * factor)))
