"""One lane of chunked work: an interval of keys, chunk after chunk, over a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql

from rollout.engine import ledger
from rollout.engine.chunksize import ChunkSize
from rollout.engine.ledger import Connection, Fence
from rollout.engine.pace import Pace
from rollout.engine.work import Pair, Work
from rollout.errors import Failed

# Below deadlock_timeout (1 s): where a chunk and a client wait for each other, the chunk is the one that gives way.
LOCK_TIMEOUT = "400ms"
YIELDS_MAX = 50
GIVES_WAY = (errors.DeadlockDetected, errors.LockNotAvailable, errors.SerializationFailure)
TAKEN = (errors.UniqueViolation, errors.ExclusionViolation)


@dataclass
class Lane:
    """A lane: where it begins and ends is in `before`, its checkpoint; the rest is what this call of `run` has done in it."""

    work: Work
    fence: Fence
    size: ChunkSize
    pace: Pace
    before: dict[str, Any]
    rows: int = 0
    chunks: int = 0
    over_twice: int = 0
    longest_ms: float = 0.0
    yields: int = 0

    def run(self, connection: Connection, wait: Callable[[], bool], done: Callable[[], None]) -> None:
        """Run chunk after chunk until nothing is left. `wait` returns when one may begin, False to stop; `done` hears of each."""
        after: str | None = self.before["last_key"]
        until, division = self.before["until_key"], self.work.division
        statements = division if until is not None and division else self.work
        quick = statements.quick
        while wait():
            began = time.monotonic()
            try:
                last_key, copied = self._chunk(connection, quick or statements.careful, after)
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
            done()
            if last_key is None:
                return
            after, quick = last_key, statements.quick
            self.size.took(seconds)
            self.pace.rest(seconds)

    def _chunk(self, connection: Connection, statements: Pair, after: str | None) -> tuple[str | None, int]:
        with connection.transaction():
            # Not waiting for the disk: after a crash of the server a chunk and its checkpoint are there or not there together,
            # and whatever stage is recorded later flushes both.
            connection.execute(
                sql.SQL("SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = {}").format(
                    sql.Literal(LOCK_TIMEOUT)
                )
            )
            ledger.check(connection, self.fence)
            values = {"after": after, "limit": self.size.limit, "until": self.before["until_key"]}
            row = connection.execute(statements[after is not None], values, prepare=False).fetchone()
            last_key, copied = tuple((row or {}).values())[:2]
            ledger.advance(connection, self.work.change, self.before["work"], last_key, copied)
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
