"""The way to a strong lock: looked at before asking, and waited for without asking, which costs nobody anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rollout.engine import blockers
from rollout.engine.blockers import Blocker
from rollout.engine.companion import statement
from rollout.engine.ledger import Connection
from rollout.engine.stalls import Stalls
from rollout.environment import Settings
from rollout.errors import Refused

WAIT_MAX_SECONDS = 5.0  # for settings made by hand that do not state blocker_wait_max_seconds
LOOK_AGAIN_SECONDS = (0.05, 1.0)  # between two looks: at first, and at most
ENDING_SECONDS = 2.0  # what a session that was told to end gets to be gone
# What a cancelled autovacuum gets to let go, and how soon we have it cancelled where we may choose.
YIELD_MS = 100
DEADLOCK_TIMEOUT_MS = 25
STRONGEST = "ACCESS EXCLUSIVE"


@dataclass(frozen=True)
class Go:
    """How one attempt asks: milliseconds in one go and, where an autovacuum is to yield, our own deadlock_timeout."""

    once_ms: int
    deadlock_timeout_ms: int | None = None


class Way:
    """The way to a lock in `mode` on relations (`schema.name`): who is in it, how long we waited, what is said in the end."""

    def __init__(
        self, connection: Connection, relations: Sequence[str], mode: str, settings: Settings, stalls: Stalls
    ) -> None:
        """`stalls` hears of everybody who was met."""
        self.connection, self.relations, self.mode = connection, relations, mode
        self.settings, self.stalls = settings, stalls
        self.patience = float(settings.stated("blocker_wait_max_seconds") or WAIT_MAX_SECONDS)
        self.deadline_seconds = self.patience
        self.looked, self.waited = 0, 0.0
        self.conflict, self.last_error, self.outstayed = mode, "", False
        self.asked_autovacuum = self.told_to_end = False

    def clear(self) -> Go | None:
        """Wait until the way is clear; None when it is not after `blocker_wait_max_seconds` in all."""
        pause = LOOK_AGAIN_SECONDS[0]
        while found := self._look(self.settings.blocker_transaction_max_seconds):
            if all(one.kind == "autovacuum" for one in found) and (go := self._yielding()):
                return go
            if self.waited >= self.deadline_seconds and not self._end(found):
                self.outstayed = True
                return None
            started = time.monotonic()
            time.sleep(max(0.01, min(pause, self.deadline_seconds - self.waited)))
            self.waited += time.monotonic() - started
            pause = min(2 * pause, LOOK_AGAIN_SECONDS[1])
        return Go(self.settings.stall_budget_once_ms)

    def refused(self, error: Exception, *, locked: bool) -> None:
        """Look, after an attempt failed, who was in its way, however young. `locked`: our declared locks were taken."""
        self.last_error = type(error).__name__
        if locked:
            # The work wants more than its declared lock (DROP TRIGGER takes the strongest, say): look for that from now on.
            self.conflict = STRONGEST
        self._look(0.0)

    def refusal(self) -> Refused:
        """Return what a person is told: how often, how long, behind whom, and what to do about each."""
        stalls, settings = self.stalls, self.settings
        who = blockers.named(stalls.blockers) or self.last_error or "nobody that can be named"
        if stalls.ended:
            who += "; told to end: " + ", ".join(f"pid {e['pid']} ({e['kind']}, {e['outcome']})" for e in stalls.ended)
        limits = f"{settings.stall_budget_total_ms} ms in all, {settings.stall_budget_once_ms} ms in one go"
        if self.outstayed:
            limits = f"{self.patience:g} s of waiting for who is in the way"
        elif stalls.stalled_ms < settings.stall_budget_total_ms:
            limits = f"{settings.lock_attempts_max} attempts"
        return Refused(
            f"{self._wanted()} after looking {self.looked} times in {self.waited:.1f} s and"
            f" asking {stalls.attempts} times, with {stalls.stalled_ms:.0f} ms of stall ({stalls.sessions} sessions waited,"
            f" {stalls.longest_wait_ms:.0f} ms at most); in the way: {who}",
            limit=limits,
            next="do what is said for each in the way, then repeat the command: it goes on from here",
            page="runbooks/deploy.md#lock-refused",
        )

    def _wanted(self) -> str:
        """Return what was not had: a lock, or, of a change that names none, the whole of its short transaction."""
        if self.relations:
            return f"no {self.mode} lock on {', '.join(self.relations)}"
        return "its statements, which name no table to lock, did not end within the stall budget"

    def _look(self, seconds: float) -> list[Blocker]:
        """Look once who is in the way and has been for longer than this."""
        self.looked += 1
        rows = self.connection.execute(
            "SELECT to_regclass(r)::oid AS oid FROM unnest(%s::text[]) AS r", (list(self.relations),)
        ).fetchall()
        oids = [int(row["oid"]) for row in rows if row["oid"] is not None]
        found = blockers.find(self.connection, oids, self.conflict, seconds)
        self.stalls.meet(found)
        return found

    def _yielding(self) -> Go | None:
        """Return, once, how to ask so that an autovacuum yields; None when that takes longer than the budget allows."""
        if self.asked_autovacuum:
            return None
        row = self.connection.execute(statement("yielding")).fetchone()
        assert row is not None
        go = yielding(self.settings, self.stalls.stalled_ms, int(row["ms"]), may_set=bool(row["may_set"]))
        self.asked_autovacuum = go is not None
        return go

    def _end(self, found: Sequence[Blocker]) -> bool:
        """End, once, those in the way that may be ended, if told so; return whether to look again."""
        if self.told_to_end or not self.settings.stated("terminate_blockers"):
            return False
        self.told_to_end = True
        told = blockers.end(self.connection, found)
        self.stalls.ended += told
        self.deadline_seconds = self.waited + ENDING_SECONDS
        return bool(told)


def yielding(settings: Settings, stalled_ms: float, deadlock_timeout_ms: int, *, may_set: bool) -> Go | None:
    """Return how to ask so that a plain autovacuum yields within what is left of the budget, or None.

    `stalled_ms`: what is spent of the budget in all; `may_set`: this role may set deadlock_timeout for itself.
    """
    allowed = min(settings.stall_budget_once_ms, int(settings.stall_budget_total_ms - stalled_ms))
    if deadlock_timeout_ms + YIELD_MS <= allowed:
        return Go(deadlock_timeout_ms + YIELD_MS)
    if may_set and allowed >= 2 * DEADLOCK_TIMEOUT_MS:
        return Go(allowed, DEADLOCK_TIMEOUT_MS)
    return None
