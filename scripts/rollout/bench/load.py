"""The load as the bench holds it: a process of its own, so that what the bench does cannot slow its clients down."""

from __future__ import annotations

import multiprocessing
import time
from types import TracebackType
from typing import Any, Self

from rollout.bench.client import Plan, Seen, serve
from rollout.errors import Failed

START_SECONDS = 60.0
SETTLE_CHECK_SECONDS = 0.1


class Load:
    """Clients that can be started, paused and looked at; leaving the context ends them."""

    def __init__(self, plan: Plan) -> None:
        """Start the process and wait until its connections stand."""
        self.plan = plan
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, plan), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_SECONDS):
            self._end()
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def run(self) -> None:
        """Let statements arrive."""
        self._ask("run")

    def settle(self, seconds: float) -> None:
        """Wait until no statement waits for a connection, at most so long: the backlog of a stall has passed then."""
        deadline = time.monotonic() + seconds
        while self._ask("count") > self.plan.connections and time.monotonic() < deadline:
            time.sleep(SETTLE_CHECK_SECONDS)

    def pause(self) -> None:
        """Let no more arrive, and wait until all have been answered."""
        self._ask("pause")

    def finish(self) -> Seen:
        """End the load and look every acknowledged write up; return what the clients saw."""
        seen: Seen = self._ask("finish")
        return seen

    def _ask(self, word: str) -> Any:
        self._pipe.send(word)
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join(START_SECONDS)
            raise Failed(
                f"the clients' process ended with status {self._process.exitcode}", next="read what it said above"
            ) from None

    def _end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()
