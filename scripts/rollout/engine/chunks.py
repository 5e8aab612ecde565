"""Chunked work: short transactions whose size follows a target time, each with its checkpoint and under the fence.

A piece of work is one statement: it takes %(after)s (the last key done as text, NULL at the start) and %(limit)s rows, and
returns one row: last_key (NULL when nothing was left) and the number of rows. Work can stop at any instant; the next
call goes on behind the last committed chunk. Between chunks it rests, slows down and stands still as `pace` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import errors, sql

from rollout.engine import ledger
from rollout.engine.chunksize import ChunkSize
from rollout.engine.ledger import Connection, Fence
from rollout.engine.pace import Pace
from rollout.environment import Settings
from rollout.errors import Failed

__all__ = ["ChunkSize", "Done", "Report", "run"]

# Below deadlock_timeout (1 s): where a chunk and a client wait for each other, the chunk is the one that gives way.
LOCK_TIMEOUT = "400ms"
YIELDS_MAX = 50
GIVES_WAY = (errors.DeadlockDetected, errors.LockNotAvailable, errors.SerializationFailure)
TAKEN = (errors.UniqueViolation, errors.ExclusionViolation)
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Done:
    """What a piece of chunked work did in this call.

    Rows, chunks, seconds (with those paused), the longest chunk in milliseconds, chunks of more than twice the target time,
    and what slowed it (see `Pace.to_dict`).
    """

    work: str
    rows: int
    chunks: int
    seconds: float
    longest_ms: float
    over_twice: int = 0
    pace: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values with the rate in rows per second, pauses aside."""
        busy = self.seconds - float(self.pace.get("paused_seconds", 0.0))
        return {
            "work": self.work, "rows": self.rows, "chunks": self.chunks, "seconds": round(self.seconds, 3),
            "longest_ms": round(self.longest_ms, 1), "over_twice_target": self.over_twice,
            "rows_per_s": round(self.rows / busy) if busy > 0 else None, "pace": self.pace,
        }  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A piece of chunked work: its change, its name, and the statements of a first and of a further chunk.

    `quick` is the same work for when nobody has written to what it fills: a unique key that is taken then ends it, and the chunk
    is done by `careful`, which is slower. `relations`: the tables whose pain counts.
    """

    change: str
    name: str
    careful: tuple[bytes, bytes]
    quick: tuple[bytes, bytes] | None = None
    relations: Sequence[str] = ()


def run(connection: Connection, work: Work, fence: Fence, settings: Settings, report: Report) -> Done:
    """Run a piece of work to its end.

    `report(work, rows so far including earlier calls, rows per second)` is called after each chunk and while it stands still;
    what slows it then stands behind the work's name, in brackets.

    Raises Fenced when another runner took over, Failed when clients are in its way all the time, Refused when it stood still
    for `throttle_hold_max_seconds`.
    """
    before = ledger.checkpoint(connection, work.change, work.name)
    if before["finished"]:
        return Done(work.name, 0, 0, 0.0, 0.0)
    with Pace(connection, work.change, fence, settings, work.relations) as pace:
        return _Run(connection, work, fence, report, ChunkSize(settings.chunk_target_ms), pace, before).whole()


@dataclass
class _Run:
    """One call of `run`: where it stands and what it has done."""

    connection: Connection
    work: Work
    fence: Fence
    report: Report
    size: ChunkSize
    pace: Pace
    before: dict[str, Any]
    rows: int = 0
    chunks: int = 0
    over_twice: int = 0
    longest_ms: float = 0.0
    yields: int = 0
    started: float = field(default_factory=time.monotonic)

    def whole(self) -> Done:
        """Run chunk after chunk until nothing is left."""
        after: str | None = self.before["last_key"]
        quick = self.work.quick
        while True:
            self.pace.wait(self._say)
            began = time.monotonic()
            try:
                last_key, copied = self._chunk(quick or self.work.careful, after)
            except TAKEN:
                if quick is None:
                    raise
                quick = None
                continue
            except GIVES_WAY as error:
                self._give_way(after, error)
                continue
            seconds = time.monotonic() - began
            self.rows, self.chunks = self.rows + copied, self.chunks + 1
            self.longest_ms = max(self.longest_ms, seconds * 1000)
            self.over_twice += seconds > 2 * self.size.target_seconds
            self._say(self.pace.note)
            if last_key is None:
                total = time.monotonic() - self.started
                return Done(self.work.name, self.rows, self.chunks, total, self.longest_ms, self.over_twice, self.pace.to_dict())
            after, quick = last_key, self.work.quick
            self.size.took(seconds)
            self.pace.rest(seconds)

    def _chunk(self, statements: tuple[bytes, bytes], after: str | None) -> tuple[str | None, int]:
        with self.connection.transaction():
            # Not waiting for the disk: after a crash of the server a chunk and its checkpoint are there or not there together,
            # and whatever stage is recorded later flushes both.
            self.connection.execute(
                sql.SQL("SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT))
            )
            ledger.check(self.connection, self.fence)
            values = {"after": after, "limit": self.size.limit}
            row = self.connection.execute(statements[after is not None], values, prepare=False).fetchone()
            last_key, copied = tuple((row or {}).values())[:2]
            ledger.advance(self.connection, self.work.change, self.work.name, last_key, copied)
        return last_key, int(copied)

    def _give_way(self, after: str | None, error: Exception) -> None:
        self.yields += 1
        if self.yields > YIELDS_MAX:
            raise Failed(
                f"{self.work.change}/{self.work.name} gave way to clients {self.yields} times behind key {after}"
                f" ({type(error).__name__})",
                limit=f"{YIELDS_MAX} times",
                next="find who holds these rows; the same command goes on behind the last chunk",
            ) from None
        self.size.took(2 * self.size.target_seconds)
        time.sleep(self.size.target_seconds)

    def _say(self, note: str) -> None:
        busy = max(1e-6, time.monotonic() - self.started - self.pace.paused_seconds)
        self.report(self.work.name + note, self.before["rows"] + self.rows, self.rows / busy)
