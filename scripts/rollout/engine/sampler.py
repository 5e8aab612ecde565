"""Takes the readings of a copy's database in a thread, on a second connection: the copy itself is never held up by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psycopg

from rollout.engine.companion import beside
from rollout.engine.gauges import MEASURES, Gauge, Reading, Unknown, Values, gauges
from rollout.engine.ledger import Connection
from rollout.engine.probe import Probe
from rollout.environment import Settings

FIRST_SECONDS = 1.0  # how long a copy waits for its first readings
TICK_SECONDS = 0.2
AGAIN_SECONDS = 5.0  # between attempts to connect
JOIN_SECONDS = 5.0


class Sampler:
    """Readings of everything that has a limit, as a context manager; nothing is read where nothing has one."""

    def __init__(self, connection: Connection, change: str, relations: Sequence[str], settings: Settings) -> None:
        """`change` names the row that the probe locks; `relations`: `schema.name` of authority and shadow."""
        self._first, self._settings = connection, settings
        self._probe = Probe(change, relations)
        self._gauges: list[Gauge | Probe] = [self._probe] if settings.stated(self._probe.settings[0]) else []
        self._gauges += gauges(settings.stated, relations)
        self._values: Values = {}
        self._unknown: dict[str, str] = {}
        self._guard, self._stopped, self._ready = threading.Lock(), threading.Event(), threading.Event()
        self._second: Connection | None = None
        self._thread: threading.Thread | None = None
        self.spent_seconds = 0.0

    def __enter__(self) -> Self:
        """Begin, and wait for the first readings, FIRST_SECONDS at most."""
        if self._gauges:
            self._thread = threading.Thread(target=self._run, name="throttle", daemon=True)
            self._thread.start()
            self._ready.wait(FIRST_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, and what it may be waiting for."""
        self._stopped.set()
        if self._thread:
            self._thread.join(2 * TICK_SECONDS)
            if self._thread.is_alive() and self._second:
                self._second.cancel()
            self._thread.join(JOIN_SECONDS)

    def readings(self) -> list[Reading]:
        """Return the latest values that have a limit."""
        with self._guard:
            values = dict(self._values)
            known = self._probe.settings[0] not in self._unknown
        latency = self._probe.latency_ms()
        if latency is not None and known:
            values[self._probe.settings[0]] = (latency, "")
        found = []
        for setting, (value, detail) in values.items():
            limit = self._settings.stated(setting)
            if limit:
                found.append(Reading(MEASURES[setting][0], value, float(limit), MEASURES[setting][1], detail))
        return found

    def unknown(self) -> dict[str, str]:
        """Return what has a limit and cannot be measured now, with the reason."""
        with self._guard:
            return {name: why for name, why in self._unknown.items() if self._settings.stated(name)}

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._second = beside(self._first, "throttle")
                with self._second:
                    self._measure(self._second)
            except psycopg.Error as error:
                self._lose(f"no second connection: {_first_line(error)}")
            self._ready.set()
            self._stopped.wait(AGAIN_SECONDS)

    def _measure(self, second: Connection) -> None:
        """Read each gauge when it is due, until stopped; raises psycopg.Error when the connection is lost."""
        due = [0.0] * len(self._gauges)
        while not self._stopped.is_set():
            started = time.monotonic()
            for number, gauge in enumerate(self._gauges):
                if due[number] <= started and not self._stopped.is_set():
                    due[number] = started + gauge.every_seconds
                    self._take(gauge, second)
            self._ready.set()
            self.spent_seconds += time.monotonic() - started
            self._stopped.wait(max(0.0, TICK_SECONDS - (time.monotonic() - started)))

    def _take(self, gauge: Gauge | Probe, second: Connection) -> None:
        try:
            values, unknown = gauge.read(second, time.monotonic()), dict[str, str]()
        except (Unknown, psycopg.Error) as error:
            if second.broken:
                raise
            values, unknown = {}, dict.fromkeys(gauge.settings, _first_line(error))
        with self._guard:
            for name in gauge.settings:
                self._values.pop(name, None)
                self._unknown.pop(name, None)
            self._values.update(values)
            self._unknown.update(unknown)

    def _lose(self, why: str) -> None:
        """Know nothing any more."""
        with self._guard:
            self._values.clear()
            self._unknown = {name: why for gauge in self._gauges for name in gauge.settings}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
