"""What every server of a sandbox has in common: how it is prepared, started, asked and stopped."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rollout.errors import Failed
from rollout.sandbox.layout import Ground, Layout
from rollout.sandbox.processes import reap

START_SECONDS = 40.0


@dataclass(frozen=True)
class Server(ABC):
    """One server process on loopback. `ports[0]` is the one that it is asked on."""

    host: str
    kind: ClassVar[str]
    layout: Layout
    ports: dict[str, int]

    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))

    @property
    def port(self) -> int:
        """The port on which the server answers its clients."""
        return next(iter(self.ports.values()))

    @abstractmethod
    def launch(self, ground: Ground) -> None:
        """Write what the server reads and start it; return without waiting for an answer."""

    @abstractmethod
    def ask(self) -> None:
        """Ask the server something real; raise any exception when the answer is missing or wrong."""

    def complete(self) -> None:  # noqa: B027  (most servers have nothing to add)
        """Do what can only be done once the server answers; must be repeatable."""

    def running(self) -> int | None:
        """Return the pid of the server, None when it does not run."""
        return self.layout.pidfile(self.host).pid()

    def up(self, ground: Ground, cancelled: threading.Event) -> bool:
        """Start the server unless it runs, wait until it answers, complete it; return whether it was started.

        Raise Failed, with the log's place, when it ends or does not answer in time.
        """
        return self.ensure(lambda: self.launch(ground), cancelled)

    def ensure(self, launch: Callable[[], None], cancelled: threading.Event) -> bool:
        """As `up`, with another way to launch."""
        started = self.running() is None
        if started:
            launch()
            self.layout.pidfile(self.host).wait_identity()
        self._wait(cancelled)
        self.complete()
        return started

    def down(self) -> bool:
        """Stop the server; return whether it ran."""
        return self.layout.pidfile(self.host).stop(*self.stop_steps)

    def _wait(self, cancelled: threading.Event) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            reap()
            alive = self.running() is not None
            try:
                self.ask()
                if alive:
                    return
                reason = "another process answers at its port"
            except Exception as error:  # noqa: BLE001  (whatever the client library raises means: no answer yet)
                reason = _first_line(str(error)) or type(error).__name__
            if not alive:
                raise self._failed(f"ended at its start: {_last_line(self.layout.log(self.host)) or reason}")
            if cancelled.is_set():
                raise self._failed("was not waited for")
            if time.monotonic() > deadline:
                raise self._failed(f"does not answer after {START_SECONDS:.0f} s: {reason}")
            time.sleep(0.05)

    def _failed(self, what: str) -> Failed:
        return Failed(f"{self.host} {what}", next=f"read {self.layout.log(self.host)}, then invoke sandbox.up")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def _last_line(log: Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return (file.read().decode(errors="replace").strip().splitlines() or [""])[-1][:300]
