"""Who is in the way is told by kind, and each kind has its sentence."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from rollout.engine import blockers
from rollout.engine.blockers import ADVICE, MODES, Kind, conflicting
from rollout.engine.way import Go, yielding
from rollout.environment import Settings

ROW = {
    "pid": 7, "gid": None, "holds": True, "strength": 1, "backend_type": "client backend", "there": True, "role": "app",
    "application": "worker", "state": "active", "query": "SELECT 1", "seconds": 9.0, "state_seconds": 9.0, "wrote": False,
    "own": False, "backend_start": "a", "xact_start": "b", "waits_for": [], "scanned_percent": None, "phase": None,
}  # fmt: skip
VACUUM: dict[str, Any] = {"backend_type": "autovacuum worker", "strength": 4}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({}, "long reader"), ({"wrote": True}, "long writer"), ({"state": "idle in transaction"}, "idle in transaction"),
        ({"state": "idle in transaction (aborted)", "strength": 8}, "idle in transaction"),
        ({"strength": 4}, "other DDL"), ({"strength": 3, "wrote": True}, "long writer"),
        ({"own": True}, "our own earlier session"),
        ({"pid": None, "gid": "x"}, "prepared transaction"), (VACUUM, "autovacuum"),
        (VACUUM | {"query": "autovacuum: VACUUM public.t (to prevent wraparound)"}, "wraparound autovacuum"),
        (VACUUM | {"query": "autovacuum: ANALYZE public.t"}, "autovacuum"),
    ],
)  # fmt: skip
def test_kinds(row: dict[str, Any], kind: Kind) -> None:
    """What a session is follows from what it is, not from how long it has been there."""
    assert blockers.kind(ROW | row) == kind


@pytest.mark.parametrize(
    ("row", "stays"),
    [
        ({"seconds": 4.9}, False), ({"seconds": 5.0}, True), ({"seconds": None}, False),
        ({"strength": 8, "seconds": 0.9}, False), ({"strength": 8, "seconds": 1.0}, True),
        (VACUUM | {"seconds": 0.0}, True), ({"own": True, "seconds": 0.0}, True),
    ],
)  # fmt: skip
def test_clients_count_from_an_age_on(row: dict[str, Any], stays: bool) -> None:
    """A short transaction is no blocker; maintenance and our own always are, DDL soon."""
    assert blockers.stays(ROW | row, 5.0) is stays


def test_every_kind_says_what_to_do_and_is_json() -> None:
    """The sentence names pid, role, application, state, age and kind; the facts survive JSON."""
    assert set(ADVICE) == set(get_args(Kind))
    told = blockers.blocker(ROW | {"waits_for": [3, 4], "phase": "scanning heap", "scanned_percent": 12})
    for part in ("pid 7 (app, worker, active, 9 s; long reader, itself waiting for pid 3, 4): SELECT 1",
                 "[scanning heap, 12 % scanned]", "pg_cancel_backend(7)"):  # fmt: skip
        assert part in str(told)
    assert json.loads(json.dumps(told.to_dict()))["kind"] == "long reader"
    many = [told] * 7
    assert blockers.named(many).endswith("; and 2 more")


def test_conflicts_are_those_of_the_manual() -> None:
    """The table of conflicting modes is symmetric, and right where it is easy to be wrong."""
    conflicts = {mode: set(conflicting(mode)) for mode in MODES}
    spelt = {mode: mode.title().replace(" ", "") + "Lock" for mode in MODES}
    for one in MODES:
        for other in MODES:
            assert (spelt[other] in conflicts[one]) is (spelt[one] in conflicts[other]), (one, other)
    assert len(conflicts["ACCESS EXCLUSIVE"]) == 8
    assert conflicts["ACCESS SHARE"] == {"AccessExclusiveLock"}
    assert conflicts["SHARE"] == {"RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock",
                                  "AccessExclusiveLock"}  # fmt: skip
    assert "ShareUpdateExclusiveLock" in conflicts["SHARE UPDATE EXCLUSIVE"]


@pytest.mark.parametrize(
    ("once_ms", "total_ms", "stalled_ms", "may_set", "go"),
    [
        (100, 500, 0, False, None), (1100, 2000, 0, False, Go(1100)), (5000, 6000, 0, True, Go(1100)),
        (1100, 2000, 1000, False, None), (100, 500, 0, True, Go(100, 25)), (100, 500, 480, True, None),
    ],
)  # fmt: skip
def test_an_autovacuum_is_asked_only_within_the_budget(
    once_ms: int, total_ms: int, stalled_ms: float, may_set: bool, go: Go | None
) -> None:
    """With deadlock_timeout at 1 s: a little longer than that, or sooner where the role may choose, or not at all."""
    settings = Settings.model_construct(stall_budget_once_ms=once_ms, stall_budget_total_ms=total_ms)
    assert yielding(settings, stalled_ms, 1000, may_set=may_set) == go
