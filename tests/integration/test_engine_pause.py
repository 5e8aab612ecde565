"""Pause and resume while a copy runs: the pause is in the ledger, outlives the runner, and lets go of everything."""

from __future__ import annotations

import signal
import time

import psycopg
import pytest
from engine_copy import NAME, Copy, copied, prepare, process
from servers import within

from rollout.engine import controls, ledger
from rollout.environment import Database
from rollout.errors import Fenced, Refused

ROWS = 30_000


def test_a_running_copy_waits_and_goes_on(target: Database) -> None:
    """It stops within a chunk, says since when and by whom, holds no transaction open, and copies every row once."""
    prepare(target, ROWS)
    with ledger.connect(target, "operator") as operator, Copy(target, chunk_target_ms=5) as copy:
        within(10, lambda: _more(copied(target), 500))
        pause = controls.pause(operator, NAME, "ana", "the night's backup")
        copy.says("paused since")
        standing = copied(target)
        time.sleep(1.2)
        assert (copied(target), copy.alive()) == (standing, True)
        line = copy.lines[-1][1]
        assert f"{pause.since:%H:%M:%S} UTC by ana: the night's backup" in line
        assert len([1 for _, words, _ in copy.lines if "paused" in words]) <= 3
        idle = operator.execute(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        ).fetchone()
        assert idle == {"n": 0}
        again = controls.pause(operator, NAME, "ben", "me too")
        assert (again.who, [p.who for p in controls.all_paused(operator)]) == ("ana", ["ana"])
        assert controls.resume(operator, NAME, "ben") == pause
        assert controls.resume(operator, NAME, "ben") is None
        done = copy.end().to_dict()
        assert done["rows"] == copied(target) == ROWS
        assert done["pace"]["paused_seconds"] >= 1.0
        assert done["rows_per_s"] >= ROWS / done["seconds"]
        events = operator.execute("SELECT event, facts FROM rollout.events ORDER BY id").fetchall()
        assert [e["event"] for e in events] == ["paused", "resumed"]
        assert events[1]["facts"]["was"]["why"] == "the night's backup"


def test_a_pause_outlives_a_killed_runner(target: Database) -> None:
    """Kill -9 while it waits: the next runner waits too, behind the same key, until somebody resumes."""
    prepare(target, ROWS)
    with ledger.connect(target) as operator:
        runner = process(target, chunk_target_ms=5)
        try:
            within(20, lambda: _more(copied(target), 500))
            controls.pause(operator, NAME, "ana", "")
            time.sleep(0.5)
            standing = copied(target)
        finally:
            runner.send_signal(signal.SIGKILL)
            runner.wait()
        with Copy(target) as copy:
            copy.says("paused since")
            assert copied(target) == standing < ROWS
            controls.resume(operator, NAME)
            assert copy.end().rows == ROWS - standing
    assert copied(target) == ROWS


def test_a_killed_runner_loses_no_more_than_its_last_chunk(target: Database) -> None:
    """Kill -9 in the middle, three times over: the same call goes on behind the last committed chunk, no row is copied twice."""
    prepare(target, ROWS)
    for wanted in (2_000, 8_000, 15_000):
        runner = process(target, chunk_target_ms=5)
        try:
            within(20, lambda wanted=wanted: _more(copied(target), wanted))
        finally:
            runner.send_signal(signal.SIGKILL)
            runner.wait()
    before = copied(target)
    with Copy(target) as copy:
        assert copy.end().rows <= ROWS - before
    assert copied(target) == ROWS


def test_who_waits_still_sees_the_fence(target: Database) -> None:
    """A runner that is paused while another takes over ends instead of waiting for ever."""
    prepare(target, 10)
    with ledger.connect(target) as operator:
        controls.pause(operator, NAME, "ana", "")
        with Copy(target) as copy:
            copy.says("paused since")
            ledger.install(operator, ledger.Fence("run", 2))
            with pytest.raises(Fenced):
                copy.end()


def test_a_pause_before_the_copy_begins(target: Database) -> None:
    """Nothing is copied at all; a database without a ledger refuses the pause and has none."""
    with ledger.connect(target) as operator:
        assert controls.all_paused(operator) == []
        with pytest.raises(Refused, match="no ledger"):
            controls.pause(operator, NAME, "ana", "")
        prepare(target, 10)
        controls.pause(operator, NAME, "ana", "")
        with Copy(target) as copy:
            copy.says("paused since")
            assert copied(target) == 0
            controls.resume(operator, NAME)
            assert copy.end().rows == 10


def test_a_ledger_of_before_gets_the_table(target: Database) -> None:
    """Where an older release made the ledger, a runner's install adds what it lacks, and nothing that was there is lost."""
    prepare(target, 1)
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("DROP TABLE rollout.controls; COMMENT ON SCHEMA rollout IS 'an older one'")
        owner.execute("INSERT INTO rollout.checkpoints (change, work, rows) VALUES ('x', 'y', 7)")
    with ledger.connect(target) as connection:
        ledger.install(connection, ledger.Fence("run", 1))
        assert ledger.checkpoint(connection, "x", "y")["rows"] == 7
        assert controls.pause(connection, NAME, "ana", "").who == "ana"


def _more(count: int, than: int) -> None:
    assert count > than
