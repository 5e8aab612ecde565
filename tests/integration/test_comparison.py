"""Comparing both sides: ranges leave no key out and see one instant, alone or on two connections, and can be paused."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import psycopg
import pytest
from rewrite_place import NAME, SETTINGS, Place
from servers import Server, superuser, within

from rollout.engine import comparison, controls, ledger, ranges
from rollout.engine.stages import Stages

ROWS = 30_000
SETUP = f"""
CREATE TABLE t (a text, b int, n numeric, j jsonb, PRIMARY KEY (a, b));
INSERT INTO t SELECT md5((n / 7)::text), n, CASE WHEN n % 5 > 0 THEN n / 3.0 END, jsonb_build_object('n', n)
FROM generate_series(1, {ROWS}) AS n;
ANALYZE t
"""
SOURCES = {"sources": [{"table": "public.t"}]}


@pytest.fixture(params=["alone", "two connections"])
def place(request: pytest.FixtureRequest, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A table of two key columns, with bounds from a sample."""
    monkeypatch.setattr(ranges, "STEP_ROWS", 1_000)
    monkeypatch.setitem(SETTINGS, "compare_connections", 1 + (request.param != "alone"))
    return Place.make(server, tmp_path, SETUP, **SOURCES)


def full(stages: Stages, **more: bool) -> comparison.Compared:
    """Compare all."""
    fence = ledger.Fence("run", 1)
    return comparison.full(
        stages.connection, stages.statements, fence, stages.settings, stages._do.report, reverse=False, **more
    )


def test_ranges_are_the_whole_table_and_name_what_differs(place: Place) -> None:
    """Each row is in just one range, both ways; what differs at either end, or stands on one side alone, is named."""
    with place.stages() as stages:
        assert stages.expand().facts["compared"]["rows"] == ROWS
        ends = place.rows("SELECT a, b FROM t ORDER BY a, b LIMIT 1")
        ends += place.rows("SELECT a, b FROM t ORDER BY a DESC, b DESC LIMIT 1")
        middle = place.rows("SELECT a, b FROM t ORDER BY md5(b::text) LIMIT 3")
        with superuser(place.target.port, place.target.dbname) as connection:
            connection.execute("ALTER TABLE t DISABLE TRIGGER ALL")
            for a, b in ends:
                connection.execute("UPDATE t SET n = coalesce(n, 0) + 1 WHERE (a, b) = (%s, %s)", (a, b))
            connection.execute("DELETE FROM t WHERE (a, b) = (%s, %s)", middle[0])
            connection.execute("UPDATE t SET b = -b WHERE (a, b) = (%s, %s)", middle[1])
            connection.execute("UPDATE t SET j = '{}' WHERE (a, b) = (%s, %s)", middle[2])
        assert len({*ends, *middle}) == 5
        # A key that moved past the sync is missing under its new name, and too many under its old one.
        assert len(full(stages).differing) == 2 + 1 + 2 + 1


def test_writers_are_no_difference(place: Place) -> None:
    """Under writers of values, keys and rows, what is compared never differs: both sides are one instant."""
    with place.stages() as stages:
        stages.expand()
        stop, errors = threading.Event(), []

        def write(seed: int) -> None:
            chance = random.Random(seed)
            with place.app() as app:
                try:
                    while not stop.is_set():
                        b = chance.randrange(1, ROWS)
                        app.execute("UPDATE t SET n = random(), j = '{}' WHERE b = %s AND a = md5((%s / 7)::text)", (b, b))
                        app.execute(
                            "UPDATE t SET a = md5(random()::text) WHERE b = %s AND a = md5((%s / 7)::text)", (b + 1, b + 1)
                        )
                        app.execute("DELETE FROM t WHERE b = %s AND a = md5((%s / 7)::text)", (b + 2, b + 2))
                        app.execute("INSERT INTO t VALUES (md5(random()::text), %s, 1.50)", (b,))
                except psycopg.Error as error:
                    errors.append(error)

        threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert full(stages).differing == []
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert errors == []


def test_it_waits_for_a_pause_only_where_nobody_needs_its_verdict(place: Place) -> None:
    """Paused, the comparison of an expand waits and says so, and one whose verdict is wanted at once does not."""
    with place.stages() as stages, ledger.connect(place.target) as operator:
        stages.expand()
        controls.pause(operator, NAME, "ana", "")
        assert full(stages, stands=False).rows == ROWS
        lines: list[str] = []
        stages._do.report = lambda work, *_: lines.append(work)
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(full(stages).rows))
        thread.start()
        try:
            within(10, lambda: _any(lines, "paused since"))
            time.sleep(0.3)
            assert found == []
        finally:
            controls.resume(operator, NAME)
            thread.join(60)
        assert found == [ROWS]


def _any(lines: list[str], words: str) -> None:
    assert any(words in line for line in lines), lines
