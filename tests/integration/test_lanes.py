"""Copies in lanes: bounds are decided once and kept, kill -9 loses no more than a chunk each, keys move across bounds."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from rewrite_place import NAME, SETTINGS, Place
from servers import Server, within

from rollout.engine import ledger, ranges
from rollout.errors import Fenced

ROWS = 30_000
SETUP = f"""
CREATE TABLE t (id int PRIMARY KEY, w text);
INSERT INTO t SELECT n, repeat('x', 50) FROM generate_series(1, {ROWS}) AS n;
ANALYZE t
"""
WORK = "copy_public.t"
RUNNER = """
import json, sys
from pathlib import Path
from rollout.engine import changes, ledger, ranges
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
given = json.loads(sys.argv[1])
ranges.STEP_ROWS = 500
with ledger.connect(Database(**given["database"])) as connection:
    change = changes.load("queue", Path(given["folder"]))
    Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**given["settings"])).expand()
"""


@pytest.fixture
def place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A table that is copied in three lanes."""
    monkeypatch.setattr(ranges, "STEP_ROWS", 500)
    monkeypatch.setitem(SETTINGS, "copy_lanes", 3)
    return Place.make(server, tmp_path, SETUP, sources=[{"table": "public.t"}])


def lanes(connection: ledger.Connection) -> list[dict]:
    """Return the checkpoints."""
    return ledger.lanes(connection, NAME, WORK)


def test_lanes_are_even_and_their_sum_is_told(place: Place) -> None:
    """Lanes begin where the one before ends; the first has no begin, the last no end; what is told is the sum."""
    told: list[int] = []
    with place.stages(lambda work, rows, _: told.append(rows) if work.startswith("copy") else None) as stages:
        (copy,) = stages.expand().facts["copies"]
        found = lanes(stages.connection)
    assert [lane["work"] for lane in found] == [WORK, f"{WORK}/2", f"{WORK}/3"]
    assert [lane["finished"] for lane in found] == [True] * 3 and found[2]["until_key"] is None
    assert copy["rows"] == sum(lane["rows"] for lane in found) == told[-1] == ROWS
    assert sorted(told) == told
    assert min(lane["rows"] for lane in found) > ROWS / 6


def test_few_rows_are_one_lane(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table without statistics, or of a few thousand rows, there is one checkpoint."""
    monkeypatch.setitem(SETTINGS, "copy_lanes", 3)
    place = Place.make(server, tmp_path, SETUP.replace("30000", "5000"), sources=[{"table": "public.t"}])
    with place.stages() as stages:
        stages.expand()
        assert [(lane["work"], lane["until_key"]) for lane in lanes(stages.connection)] == [(WORK, None)]


@pytest.mark.parametrize("later", [3, 1], ids=["as many lanes", "one lane at a time"])
def test_a_killed_copy_goes_on_in_each_lane(place: Place, monkeypatch: pytest.MonkeyPatch, later: int) -> None:
    """Kill -9 with lanes under way, writers on: the same command keeps the bounds, and no row is copied twice or left out."""
    given = {
        "database": place.target.model_dump(),
        "folder": str(place.change.folder),
        "settings": SETTINGS | {"chunk_target_ms": 3},
    }
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, json.dumps(given)])
    try:
        with ledger.connect(place.target) as connection:

            def all_under_way() -> None:
                found = lanes(connection) if ledger.installed(connection) else []
                assert len(found) == 3 and all(lane["rows"] > 100 for lane in found)

            within(60, all_under_way)
            runner.send_signal(signal.SIGKILL)
            runner.wait()
            within(10, lambda: _alone(connection))
            before = lanes(connection)
            assert not all(lane["finished"] for lane in before)
        monkeypatch.setitem(SETTINGS, "copy_lanes", later)
        with place.stages() as stages:
            (copy,) = stages.expand().facts["copies"]
            after = lanes(stages.connection)
        assert [lane["until_key"] for lane in after] == [lane["until_key"] for lane in before]
        assert copy["rows"] + sum(lane["rows"] for lane in before) == sum(lane["rows"] for lane in after) == ROWS
    finally:
        runner.kill()
        runner.wait()
    assert place.rows("(TABLE t EXCEPT TABLE v2.t) UNION ALL (TABLE v2.t EXCEPT TABLE t)") == []


def test_keys_move_across_bounds(place: Place) -> None:
    """Writers move keys from one lane's interval to another's, and delete them, during the copy: nothing is lost or twice."""
    stop, errors = threading.Event(), []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with place.app() as app:
            try:
                while not stop.wait(0.002):
                    key, other = chance.randrange(1, ROWS), chance.randrange(1, ROWS) + ROWS * chance.randrange(-1, 2)
                    app.execute("UPDATE t SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM t WHERE id = %s)",
                                (other, key, other))  # fmt: skip
                    app.execute("DELETE FROM t WHERE id = %s", (chance.randrange(1, ROWS),))
                    app.execute("INSERT INTO t VALUES (%s, 'n') ON CONFLICT DO NOTHING", (chance.randrange(1, ROWS),))
            except psycopg.errors.UniqueViolation:
                write(seed + 100)  # two writers wanted the same free key
            except psycopg.Error as error:
                errors.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        with place.stages() as stages:
            stages.expand()
            assert len(lanes(stages.connection)) == 3
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert place.rows("(TABLE t EXCEPT TABLE v2.t) UNION ALL (TABLE v2.t EXCEPT TABLE t)") == []


def test_what_fails_in_a_lane_ends_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another runner's token ends every lane, and its error is the command's."""
    taken: list[int] = []

    def report(work: str, rows: int, _rate: float) -> None:
        if work == WORK and rows and not taken:
            taken.append(rows)
            with ledger.connect(place.target) as other:
                ledger.install(other, ledger.Fence("other", 2))

    monkeypatch.setitem(SETTINGS, "chunk_target_ms", 1)
    with place.stages(report) as stages, pytest.raises(Fenced):
        stages.expand()


def _alone(connection: ledger.Connection) -> None:
    row = connection.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    ).fetchone()
    assert row == {"n": 0}
