"""What strong locks cost is added up in full."""

from __future__ import annotations

import json

import pytest

from rollout.engine import stalls as module
from rollout.engine.locks import Stalls
from rollout.engine.waiters import Waits


def test_attempts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt counts with what was worse: our own time, or the longest wait behind us; sessions and waits add up."""
    now = iter((10.1, 20.03, 30.05))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    stalls = Stalls()
    for started, waits in ((10.0, Waits(2, 80.0, 120.0)), (20.0, None), (30.0, Waits(1, 60.0, 60.0))):
        stalls.add(started, waits)
    assert (stalls.attempts, stalls.sessions, stalls.unseen) == (3, 3, 1)
    assert stalls.stalled_ms == pytest.approx(100 + 30 + 60, abs=0.01)
    assert stalls.longest_ms == pytest.approx(100, abs=0.01)
    assert (stalls.longest_wait_ms, stalls.waited_ms) == (80.0, 180.0)


def test_what_is_reported_is_json() -> None:
    """The report is plain numbers, a tenth of a millisecond fine, and empty before the first attempt."""
    assert json.loads(json.dumps(Stalls().to_dict())) == {
        "attempts": 0, "stalled_ms": 0.0, "longest_ms": 0.0, "held_ms": 0.0, "sessions": 0, "longest_wait_ms": 0.0,
        "waited_ms": 0.0, "unseen_attempts": 0, "ended": [], "blockers": [],
    }  # fmt: skip
    assert Stalls(stalled_ms=1.26).to_dict()["stalled_ms"] == 1.3
