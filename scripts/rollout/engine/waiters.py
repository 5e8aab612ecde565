"""Whom we make wait: sessions behind our lock, or behind our asking for it, counted from a second connection.

The connection at work is never asked: nothing here costs the holder of a lock time. A wait is measured from its start
(pg_locks.waitstart) to the first look that no longer sees it, so a figure is too high by one interval at most, and waits
shorter than that may go unseen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg

from rollout.engine.companion import beside, statement
from rollout.engine.ledger import Connection

INTERVAL_SECONDS = 0.002
REST_PER_LOOK = 4  # times a look's own duration: where locks are many, and so a look dear, there are fewer of them
JOIN_SECONDS = 5.0


@dataclass(frozen=True)
class Waits:
    """Who waited behind one attempt: sessions, the longest wait and the sum of all, in milliseconds; None: not seen."""

    sessions: int = 0
    longest_ms: float = 0.0
    sum_ms: float = 0.0


class Line:
    """The line behind one session, from looks at who waits for whom. All times are monotonic seconds."""

    def __init__(self, pid: int, asked: float) -> None:
        """`pid`: the session at work; `asked`: when it began to ask, before which no wait is its fault."""
        self.pid, self.asked = pid, asked
        self._began: dict[int, float] = {}
        self._ended: list[float] = []

    def look(self, at: float, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in what a look saw: rows with pid, waited_ms (None where it has just begun) and behind (pids)."""
        waiting = {int(row["pid"]): row for row in rows}
        behind = _behind(self.pid, {pid: row["behind"] for pid, row in waiting.items()})
        for pid in behind:
            began = at - float(waiting[pid]["waited_ms"] or 0.0) / 1000
            self._began.setdefault(pid, min(at, max(self.asked, began)))
        for pid in [p for p in self._began if p not in behind]:
            self._ended.append(at - self._began.pop(pid))

    def close(self, at: float) -> Waits:
        """Return what it came to when the session let go at `at`, which ends the waits still seen."""
        self._ended += [max(0.0, at - began) for began in self._began.values()]
        self._began.clear()
        waits = [seconds * 1000 for seconds in self._ended]
        return Waits(len(waits), max(waits, default=0.0), sum(waits))


def _behind(pid: int, waits_for: Mapping[int, Sequence[int]]) -> set[int]:
    """Return all who wait for `pid`, be it by way of others."""
    found, last = set[int](), {pid}
    while last:
        last = {waiter for waiter, before in waits_for.items() if waiter not in found | {pid} and last & set(before)}
        found |= last
    return found


class Watch:
    """Looks at the line behind a connection while an attempt is on. As a context manager it has a thread of its own."""

    def __init__(self, connection: Connection) -> None:
        """Remember the connection; the second one is made on entry, before anybody has to wait."""
        self._connection = connection
        self._second: Connection | None = None
        self._line: Line | None = None
        self._looked = False
        self._guard = threading.Lock()
        self._on, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Connect and stand by; without a second connection nothing is seen, and `end` says so."""
        try:
            self._second = beside(self._connection, "watch")
        except psycopg.Error:
            return self
        self._thread = threading.Thread(target=self._run, name="stall watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread and its connection."""
        self._stopped.set()
        self._on.set()
        if self._thread:
            self._thread.join(JOIN_SECONDS)
        if self._second:
            self._second.close()

    def begin(self) -> None:
        """Start to look: from now on we ask."""
        with self._guard:
            self._line, self._looked = Line(self._connection.info.backend_pid, time.monotonic()), False
        self._on.set()

    def end(self) -> Waits | None:
        """Stop looking, for we have let go; return who waited, or None when nobody looked."""
        at = time.monotonic()
        self._on.clear()
        with self._guard:
            line, self._line = self._line, None
            return line.close(at) if line and self._looked else None

    def _run(self) -> None:
        assert self._second is not None
        text = statement("waiters")
        while self._on.wait() and not self._stopped.is_set():
            before = time.monotonic()
            try:
                rows = self._second.execute(text).fetchall()
            except psycopg.Error:
                return
            with self._guard:
                if self._line:
                    self._line.look(time.monotonic(), rows)
                    self._looked = True
            self._stopped.wait(max(INTERVAL_SECONDS, REST_PER_LOOK * (time.monotonic() - before)))
