"""What strong locks cost is added up in full."""

from __future__ import annotations

import json

import pytest

from rollout.engine import locks
from rollout.engine.locks import Stalls


def test_attempts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt counts, with its time and the sessions behind it; the longest one is kept apart."""
    now = iter((10.1, 20.03, 30.05))
    monkeypatch.setattr(locks.time, "monotonic", lambda: next(now))
    stalls = Stalls()
    for started, sessions in ((10.0, 2), (20.0, 0), (30.0, 1)):
        stalls.add(started, sessions)
    assert (stalls.attempts, stalls.sessions) == (3, 3)
    assert stalls.stalled_ms == pytest.approx(180, abs=0.01)
    assert stalls.longest_ms == pytest.approx(100, abs=0.01)


def test_what_is_reported_is_json() -> None:
    """The report is plain numbers, a tenth of a millisecond fine, and empty before the first attempt."""
    assert json.loads(json.dumps(Stalls().to_dict())) == {
        "attempts": 0, "stalled_ms": 0.0, "longest_ms": 0.0, "held_ms": 0.0, "sessions": 0,
    }  # fmt: skip
    assert Stalls(stalled_ms=1.26).to_dict()["stalled_ms"] == 1.3
