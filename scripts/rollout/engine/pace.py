"""The pace of chunked work: rests after chunks, slows down under pain, stands still while a person or the pain says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from rollout.engine import controls, ledger
from rollout.engine.controls import Pause
from rollout.engine.gauges import MEASURES
from rollout.engine.ledger import Connection, Fence
from rollout.engine.sampler import Sampler
from rollout.engine.throttle import HOLDS_AT, Brake
from rollout.environment import Settings
from rollout.errors import Refused

LOOK_SECONDS = 0.2  # between two looks at pause and readings
SAY_SECONDS = 1.0  # between two lines, and two looks at the fence, while it stands still
HOLD_MAX_SECONDS = 600.0  # for settings made by hand that do not state throttle_hold_max_seconds


class Pace:
    """The pace of one piece of work, as a context manager. `note` says what slows it now, for the line of progress."""

    def __init__(
        self, connection: Connection, change: str, fence: Fence, settings: Settings, relations: Sequence[str], *,
        stands: bool = True,
    ) -> None:  # fmt: skip
        """`relations`: `schema.name`, authority first and shadow; `connection` commits by itself.

        `stands`: it stands still for a pause or under much pain; else it only slows down.
        """
        self.connection, self.change, self.fence, self.settings = connection, change, fence, settings
        self.stands = stands
        self.brake = Brake()
        self.paused_seconds = 0.0
        self._sampler = Sampler(connection, change, relations, settings)
        self._pause: Pause | None = None
        self._said: dict[str, str] = {}
        self._looked: float | None = None

    def __enter__(self) -> Self:
        """Begin to measure."""
        controls.begin(self.connection, self.change)
        self._sampler.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop measuring."""
        self._sampler.__exit__(kind, error, trace)

    @property
    def note(self) -> str:
        """Return what to add to a line of progress, or nothing."""
        if self._pause:
            return f" ({self._pause})"
        if self.brake.why:
            return f" ({'held' if self.brake.holding and self.stands else 'slowed'} by {self.brake.why})"
        return ""

    @property
    def standing(self) -> bool:
        """Return whether no chunk may begin."""
        return self.stands and (self._pause is not None or self.brake.holding)

    def wait(self, say: Callable[[str], None]) -> None:
        """Return when the next chunk may begin: neither paused nor held. `say`: hears a note at once, then each SAY_SECONDS.

        Raises Fenced when another runner took over meanwhile, Refused after holding for `throttle_hold_max_seconds`.
        """
        held = 0.0
        said: float | None = None
        self._look(say)
        while self.standing:
            now = time.monotonic()
            if said is None or now - said >= SAY_SECONDS:
                said = now
                with self.connection.transaction():
                    ledger.check(self.connection, self.fence)
                say(self.note)
            if not self._pause and held >= self._hold_max():
                raise self._refusal(held)
            time.sleep(LOOK_SECONDS)
            stood = time.monotonic() - now
            if self._pause:
                self.paused_seconds += stood
            else:
                held += stood
                self.brake.held(stood)
            self._look(say)

    def rest(self, seconds: float) -> None:
        """Rest after a chunk that took so many seconds."""
        time.sleep(self.brake.rest(seconds))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native facts: how long it stood or was slowed, because of what, and what could not be measured."""
        return {
            "paused_seconds": round(self.paused_seconds, 2), **self.brake.to_dict(), "not_measured": self._said,
            "measuring_seconds": round(self._sampler.spent_seconds, 3),
        }  # fmt: skip

    def _look(self, say: Callable[[str], None]) -> None:
        now = time.monotonic()
        if self._looked is not None and now - self._looked < LOOK_SECONDS:
            return
        self.brake.press(self._sampler.readings(), now - self._looked if self._looked is not None else 0.0)
        self._looked = now
        self._pause = controls.paused(self.connection, self.change) if self.stands else None
        for setting, why in self._sampler.unknown().items():
            name = MEASURES[setting][0]
            if name not in self._said:
                self._said[name] = why
                say(f" (not measured: {name}: {why})")

    def _hold_max(self) -> float:
        return float(self.settings.stated("throttle_hold_max_seconds") or HOLD_MAX_SECONDS)

    def _refusal(self, held: float) -> Refused:
        over = [str(reading) for reading in self._sampler.readings() if reading.pressure > 1]
        return Refused(
            f"{self.change} stood still for {held:.0f} s: {'; '.join(over) or 'pain that has just gone'}",
            limit=f"{self._hold_max():g} s; copying holds at {HOLDS_AT:g} times a limit until it is back at it",
            next="mend what is named, or change its limit, then repeat the command: it goes on behind the last chunk",
            page="runbooks/deploy.md#throttled",
        )
