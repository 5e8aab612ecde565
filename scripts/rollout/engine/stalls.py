"""What strong locks cost: attempts, stalls, the sessions that waited, whom we found in the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rollout.engine.blockers import Blocker
from rollout.engine.waiters import Waits

REMEMBERED_MAX = 10


@dataclass
class Stalls:
    """What strong locks cost so far.

    `attempts`; `stalled_ms`, which the budget in all limits: of each attempt the longest wait of a session or, where it
    was longer or nobody could look, our own asking and holding; `longest_ms`: the longest attempt; `held_ms`: how long
    the lock was held in the last one; `sessions` that waited behind us, the longest of their waits and the sum of all;
    `unseen`: attempts at which nobody looked; `met`: whom we found in the way; `ended`: whom we were told to end.
    """

    attempts: int = 0
    stalled_ms: float = 0.0
    longest_ms: float = 0.0
    sessions: int = 0
    longest_wait_ms: float = 0.0
    waited_ms: float = 0.0
    held_ms: float = 0.0
    began: float = 0.0
    unseen: int = 0
    blockers: list[Blocker] = field(default_factory=list)
    met: dict[tuple[str, str], Blocker] = field(default_factory=dict)
    ended: list[dict[str, Any]] = field(default_factory=list)

    def add(self, started: float, waits: Waits | None = None) -> None:
        """Count one attempt that began at monotonic time `started`; `waits`: None when nobody looked."""
        spent = (time.monotonic() - started) * 1000
        self.attempts += 1
        self.longest_ms = max(self.longest_ms, spent)
        if waits is None:
            self.unseen += 1
            waits = Waits()
        self.stalled_ms += max(spent, waits.longest_ms)
        self.sessions += waits.sessions
        self.longest_wait_ms = max(self.longest_wait_ms, waits.longest_ms)
        self.waited_ms += waits.sum_ms

    def meet(self, found: Sequence[Blocker]) -> None:
        """Remember who is in the way now; of each the last look is kept."""
        self.blockers = list(found)
        self.met.update({one.identity: one for one in found})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values, milliseconds rounded to a tenth."""
        return {
            "attempts": self.attempts, "stalled_ms": round(self.stalled_ms, 1), "longest_ms": round(self.longest_ms, 1),
            "held_ms": round(self.held_ms, 1), "sessions": self.sessions,
            "longest_wait_ms": round(self.longest_wait_ms, 1), "waited_ms": round(self.waited_ms, 1),
            "unseen_attempts": self.unseen, "ended": self.ended,
            "blockers": [one.to_dict() for one in list(self.met.values())[:REMEMBERED_MAX]],
        }  # fmt: skip
