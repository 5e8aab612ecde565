"""Chunked work: short transactions whose size follows a target time, each with its checkpoint and under the fence.

A piece of work is one statement: it takes %(after)s (the last key done as text, NULL at the start) and %(limit)s rows, and
returns one row: last_key (NULL when nothing was left) and the number of rows. Work can stop at any instant; the next
call goes on behind the last committed chunk. Between chunks it rests, slows down and stands still as `pace` says.

Work may be divided into lanes: intervals of keys that are decided once, kept in the ledger, and copied at the same time, each
over a connection of its own, while nothing is over its limit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from rollout.engine import ledger
from rollout.engine.chunksize import ChunkSize
from rollout.engine.companion import another
from rollout.engine.lane import Lane
from rollout.engine.ledger import Connection, Fence
from rollout.engine.pace import LOOK_SECONDS, Pace
from rollout.engine.work import Division, Done, Report, Work
from rollout.environment import Settings

__all__ = ["ChunkSize", "Division", "Done", "Report", "Work", "run"]

STEPS_A_LANE = 10  # of `Division.keys`: a lane of fewer rows is not worth its connection
TICK_SECONDS = 0.02


def run(connection: Connection, work: Work, fence: Fence, settings: Settings, report: Report) -> Done:
    """Run a piece of work to its end.

    `report(work, rows so far including earlier calls, rows per second)` is called after each chunk and while it stands still
    (of several lanes: every LOOK_SECONDS, their sum); what slows it then stands behind the work's name, in brackets.

    Raises Fenced when another runner took over, Failed when clients are in its way all the time, Refused when it stood still
    for `throttle_hold_max_seconds`.
    """
    most = int(settings.stated("copy_lanes") or 1)
    before = _lanes(connection, work, fence, most)
    left = [lane for lane in before if not lane["finished"]]
    if not left:
        return Done(work.name, 0, 0, 0.0, 0.0)
    with Pace(connection, work.change, fence, settings, work.relations) as pace, ExitStack() as stack:
        lanes = [Lane(work, fence, ChunkSize(settings.chunk_target_ms), pace, lane) for lane in left]
        crew = _Crew(work, report, pace, lanes, sum(lane["rows"] for lane in before))
        others = _others(connection, min(most, len(left)), stack)
        return crew.together(others) if len(others) > 1 else crew.alone(connection)


def _lanes(connection: Connection, work: Work, fence: Fence, most: int) -> list[dict[str, Any]]:
    """Return the checkpoints of all lanes. Work that has not begun is divided now, and stays so if the settings change."""
    found = ledger.lanes(connection, work.change, work.name)
    if not found and most > 1 and work.division:
        keys = work.division.keys()
        number = min(most, len(keys) // STEPS_A_LANE)
        if number > 1:
            with connection.transaction():
                ledger.check(connection, fence)
                bounds = [keys[len(keys) * n // number] for n in range(1, number)]
                ledger.divide(connection, work.change, work.name, bounds)
            found = ledger.lanes(connection, work.change, work.name)
    nothing = {"work": work.name, "last_key": None, "until_key": None, "rows": 0, "finished": False}
    return found or [nothing]


def _others(connection: Connection, number: int, stack: ExitStack) -> list[Connection]:
    """Return a connection for each of several lanes, as many of them as the server has left."""
    made: list[Connection] = []
    if number > 1:
        with suppress(psycopg.Error):
            made.extend(stack.enter_context(another(connection, f"lane-{n}")) for n in range(1, number + 1))
    return made


@dataclass
class _Crew:
    """The lanes of one call of `run`. `rows_before`: of earlier calls."""

    work: Work
    report: Report
    pace: Pace
    lanes: list[Lane]
    rows_before: int
    started: float = field(default_factory=time.monotonic)
    _left: deque[Lane] = field(default_factory=deque)
    _running: list[Lane] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def alone(self, connection: Connection) -> Done:
        """Run one lane after the other, over the connection that all else goes over too."""

        def wait() -> bool:
            self.pace.wait(self._say)
            return True

        for lane in self.lanes:
            lane.run(connection, wait, lambda: self._say(self.pace.note))
        return self._done()

    def together(self, connections: list[Connection]) -> Done:
        """Run lanes at the same time, one for each connection; pace, fence and progress are looked at here."""
        self._left.extend(self.lanes)
        with ThreadPoolExecutor(len(connections), "lane") as executor:
            running = {executor.submit(self._run, connection) for connection in connections}
            try:
                while running:
                    self.pace.wait(self._say)
                    self._say(self.pace.note)
                    ended, running = wait_for(running, LOOK_SECONDS, FIRST_EXCEPTION)
                    for one in ended:
                        one.result()
            finally:
                self._stopped.set()  # whoever is in a chunk ends it
        self._say(self.pace.note)
        return self._done()

    def _run(self, connection: Connection) -> None:
        """Run lane after lane until none is left."""
        while not self._stopped.is_set():
            try:
                lane = self._left.popleft()
            except IndexError:
                return
            self._running.append(lane)
            try:
                lane.run(connection, lambda lane=lane: self._may(lane), lambda: None)  # type: ignore[misc]
            finally:
                self._running.remove(lane)

    def _may(self, lane: Lane) -> bool:
        """Wait until a lane's next chunk may begin; return False when all is to end. Under pain only the first one goes on."""
        while not self._stopped.is_set():
            first = self._running[0] is lane
            if not (self.pace.standing or (self.pace.brake.why and not first)):
                return True
            time.sleep(TICK_SECONDS)
        return False

    def _say(self, note: str) -> None:
        busy = max(1e-6, time.monotonic() - self.started - self.pace.paused_seconds)
        rows = sum(lane.rows for lane in self.lanes)
        self.report(self.work.name + note, self.rows_before + rows, rows / busy)

    def _done(self) -> Done:
        """Return what all lanes did together."""
        return Done(
            self.work.name, sum(lane.rows for lane in self.lanes), sum(lane.chunks for lane in self.lanes),
            time.monotonic() - self.started, max(lane.longest_ms for lane in self.lanes),
            sum(lane.over_twice for lane in self.lanes), self.pace.to_dict() | {"lanes": len(self.lanes)},
        )  # fmt: skip
