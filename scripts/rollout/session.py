"""A session: one command (or one worker of it) at work on a phase of a run, shut out as soon as another takes over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from pydantic import JsonValue

from rollout import order
from rollout.errors import Failed, Fenced, Refused, RolloutError
from rollout.journal import Journal
from rollout.lease import Lease
from rollout.objectstore import ObjectStore
from rollout.order import PhaseName, RolledBack, RunState

BEATS_PER_LEASE = 4
JOIN_SECONDS = 5  # a beat that waits for a store that is away must not hold up Ctrl-C; it finds the lease gone later


@dataclass
class Session:
    """The right to change a run. As a context manager it renews its lease from a thread until it is left.

    Left by a RolloutError, the phase gets the verdict fail; left by anything else (Ctrl-C, a defect), it stays
    `running`, which the same command takes up again. An act that is no phase (`phase` None) leaves no verdict.
    `lost` is set when another took over: stop what you started.
    """

    store: ObjectStore
    run: str
    token: int
    phase: PhaseName | None
    journal: Journal
    lease_seconds: float | None
    reread: Callable[[], RunState]
    update: Callable[[Callable[[RunState], None]], RunState]
    change_lease: Callable[[Callable[[Lease, datetime], Lease | None]], None] | None
    asked: float = field(default_factory=time.monotonic)
    lost: threading.Event = field(default_factory=threading.Event)
    nothing_to_take_back: bool = False

    def __post_init__(self) -> None:
        """Count the lease from `asked`, the monotonic second before the store was asked for it."""
        self._renewed = self.asked
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = self.change_lease is None

    def begin(self, *, took_over: Lease | None, plan_before: str, plan_now: str) -> None:
        """Write the first events of a phase that was just marked running."""
        if took_over is not None:
            self.journal.append("lease_taken_over", **took_over.model_dump(mode="json"))
        self.nothing_to_take_back = self.phase == "rollback" and not self.state().has_begun()
        if plan_before != plan_now:
            self.journal.append("plan_changed", before=plan_before, now=plan_now, phase=self.phase)
        self.journal.append("phase_started", phase=self.phase, plan_digest=plan_now)

    def state(self) -> RunState:
        """Return the run's state as the store has it; raise Fenced when the token is void."""
        return self.reread()

    def set_fact(self, name: str, value: JsonValue) -> None:
        """Set a fact of the run; raise Fenced when the token is void, TypeError or ValueError when it is no JSON."""
        native = _native({name: value})
        self._write(lambda state: state.facts.update(native))

    def record(self, facts: Mapping[str, JsonValue]) -> None:
        """Add facts to the phase at work; raise as `set_fact` does."""
        phase, native = self._at_work(), _native(facts)
        self._write(lambda state: state.phases[phase].facts.update(native))

    def point_of_no_return(self) -> None:
        """Record that from now on only a restore leads back; call it before the first thing is dropped."""
        now = datetime.now(UTC)
        self._write(lambda state: setattr(state, "no_return", state.no_return or now))
        self.journal.append("point_of_no_return")

    def passed(self, facts: Mapping[str, JsonValue] | None = None, *, why: str = "", snapshot: str = "") -> None:
        """Give the phase the verdict pass, and release the lease. Of a rollback: `why` it was wanted, and to which `snapshot`."""
        self._end("pass", why, facts or {}, snapshot)

    def failed(
        self,
        why: str,
        verdict: Literal["fail", "inconclusive"] = "fail",
        facts: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Give the phase a verdict that is no pass, and release the lease."""
        self._end(verdict, why, facts or {})

    def check(self) -> None:
        """Raise Fenced when another took over; call it before every step that cannot be taken twice."""
        if self.lost.is_set():
            raise self._fenced(None)
        if self.change_lease is None:
            self.state()
        elif self.lease_seconds is not None and time.monotonic() - self._renewed > self.lease_seconds:
            self.renew()

    def renew(self) -> None:
        """Let the lease run for its full length from now; raise Fenced when another has it."""
        if self.change_lease is None:
            raise self._no_owner("renew the lease")
        before = time.monotonic()
        try:
            self.change_lease(lambda held, now: held.renewed(now))
        except Fenced:
            self.lost.set()
            raise
        self._renewed = before

    def release(self) -> None:
        """Stop renewing and give the lease back; harmless when it was lost or given back before."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_SECONDS)
        if self._ended or self.change_lease is None:
            return
        self._ended = True
        try:
            self.change_lease(lambda held, now: None)
        except Fenced:
            self.lost.set()

    def __enter__(self) -> Self:
        """Begin to renew the lease."""
        if self.lease_seconds is not None and not self._ended:
            self._thread = threading.Thread(target=self._beat, name=f"lease {self.run}", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record a failure that nobody recorded, and release the lease; never hide the error that led here."""
        try:
            if isinstance(error, RolloutError) and not isinstance(error, Fenced) and not self._ended and self.phase:
                self.failed(error.observed)
            else:
                self.release()
        except (Failed, Refused):
            if error is None:
                raise

    def _beat(self) -> None:
        assert self.lease_seconds is not None
        while not self._stop.wait(self.lease_seconds / BEATS_PER_LEASE):
            try:
                self.renew()
            except Fenced:
                return
            except Failed:
                # The store is away: `check` decides once the lease has run out; until then trying again is right.
                continue

    def _end(
        self, verdict: Literal["pass", "fail", "inconclusive"], why: str, facts: Mapping[str, JsonValue], snapshot: str = ""
    ) -> None:
        if self.change_lease is None:
            raise self._no_owner("give a verdict")
        phase, native = self._at_work(), _native(facts)
        now, seconds = datetime.now(UTC), round(time.monotonic() - self.asked, 3)

        def change(state: RunState) -> None:
            found = state.phases[phase]
            state.phases[phase] = found.model_copy(
                update={
                    "verdict": verdict,
                    "why": why,
                    "finished": now,
                    "seconds": seconds,
                    "facts": found.facts | native,
                }
            )
            if verdict == "pass" and phase == "rollback" and (state.has_begun() or snapshot):
                state.rolled_back = RolledBack(when=now, why=why, snapshot=snapshot)
            if snapshot:  # the old relations are back: what contract dropped is dropped no more
                state.finalized, state.no_return = False, None
            if verdict == "pass" and phase == "finalize":
                state.finalized, state.no_return = True, state.no_return or now

        self.state()  # a command that was shut out must not journal a verdict
        # The event first: a kill between the two leaves a phase that is repeated, never a verdict without its event.
        self.journal.append("phase_ended", phase=phase, verdict=verdict, why=why, seconds=seconds, facts=native)
        self._write(change)
        self.release()

    def _write(self, change: Callable[[RunState], object]) -> None:
        def apply(state: RunState) -> None:
            change(state)

        try:
            self.update(apply)
        except Fenced:
            self.lost.set()
            raise

    def _at_work(self) -> PhaseName:
        if self.phase is None:
            raise Failed(f"no phase of run {self.run} is at work", next="invoke status")
        return self.phase

    def _fenced(self, found: int | None) -> Fenced:
        return Fenced(
            f"this command's fencing token {self.token} is void: another took the environment over",
            limit=f"token {found}" if found is not None else "the lease, renewed in time",
            next="invoke status",
            page="runbooks/deploy.md#lease",
        )

    def _no_owner(self, act: str) -> Failed:
        return Failed(f"a worker cannot {act}: the command that started it does", next=order.COMMANDS[self._at_work()])


def _native(facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return facts as JSON gives them back; raise TypeError at a Path and its like, ValueError at NaN."""
    native: dict[str, JsonValue] = json.loads(json.dumps(dict(facts), allow_nan=False))
    return native
