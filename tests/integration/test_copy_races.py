"""Races of the copy and of keys that move, each played on purpose; the randomised test (tests/faults) found them."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from rewrite_place import Place
from servers import Server

HALVES = {"by": "hash", "columns": ["id"], "partitions": {
    f"t_{n}": f"FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in (0, 1)}}  # fmt: skip


def test_a_key_that_moves_far_while_a_chunk_waits_for_it(server: Server, tmp_path: Path) -> None:
    """The chunk's row comes back under its new key, behind all others: the checkpoint must not jump there."""
    setup = "CREATE TABLE t (id integer PRIMARY KEY, w text); INSERT INTO t SELECT n, 'a' FROM generate_series(1, 3000) AS n"
    place = Place.make(server, tmp_path, setup, sources=[{"table": "public.t"}])
    with place.app() as mover:
        moved: list[threading.Timer] = []

        def move(_work: str, rows: int, _rate: float) -> None:
            if moved:
                return
            mover.execute("BEGIN")
            mover.execute("UPDATE t SET id = 100000 WHERE id = %s", (rows + 1,))
            moved.append(threading.Timer(0.2, mover.execute, ("COMMIT",)))
            moved[0].start()

        with place.stages(move) as stages:
            stages.expand()
            moved[0].join()
            assert stages.stage() == "compared"
    assert place.rows("TABLE t EXCEPT TABLE v2.t") == [] and place.rows("SELECT count(*) FROM v2.t") == [(3000,)]


@pytest.mark.parametrize("partition", [None, HALVES], ids=["plain", "partitioned"])
def test_foreign_keys_of_others_act_on_update(server: Server, tmp_path: Path, partition: dict | None) -> None:
    """A key that moves, to another partition even, takes its children along and does not delete them; RESTRICT refuses."""
    setup = (
        "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20);"
        "CREATE TABLE d (t integer REFERENCES t ON UPDATE CASCADE ON DELETE CASCADE);"
        "INSERT INTO d SELECT id FROM t WHERE id <= 10;"
        "CREATE TABLE r (t integer REFERENCES t ON UPDATE RESTRICT); INSERT INTO r VALUES (20)"
    )
    declared = {"target": {"partition": partition}} if partition else {}
    place = Place.make(server, tmp_path, setup, sources=[{"table": "public.t"}], **declared)
    with place.stages() as stages, place.app() as blue:
        stages.expand()
        stages.swap()
        blue.execute("UPDATE t SET id = id + 1000 WHERE id <= 10")
        assert place.rows("SELECT count(*), min(t) FROM d") == [(10, 1001)]
        with pytest.raises(psycopg.errors.IntegrityError):
            blue.execute("UPDATE t SET id = 2000 WHERE id = 20")
        blue.execute("DELETE FROM t WHERE id = 1001")
        assert place.rows("SELECT count(*), min(t) FROM d") == [(9, 1002)]
        stages.contract()
        blue.execute("UPDATE t SET id = id - 1000 WHERE id > 1000")
        assert place.rows("SELECT count(*), min(t) FROM d") == [(9, 2)]


def test_an_old_key_stands_once_for_updates_too(server: Server, tmp_path: Path) -> None:
    """With a wider key in the target, an update cannot give two rows the key that the old table knows them by."""
    setup = "CREATE TABLE t (id integer CONSTRAINT t_key PRIMARY KEY, q text NOT NULL); INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    partition = {"by": "list", "columns": ["q"], "partitions": {"t_a": "FOR VALUES IN ('a')", "t_rest": "DEFAULT"}}
    place = Place.make(server, tmp_path, setup, sources=[{"table": "public.t"}],
                       target={"key": ["id", "q"], "partition": partition}, leave=["t_key"])  # fmt: skip
    with place.stages() as stages, place.app() as blue:
        stages.expand()
        stages.swap()
        with pytest.raises(psycopg.errors.UniqueViolation):
            blue.execute("UPDATE t SET id = 1 WHERE id = 2")
        blue.execute("UPDATE t SET q = 'a' WHERE id = 2")
        blue.execute("UPDATE t SET id = 3 WHERE id = 2")
        assert blue.execute("TABLE t ORDER BY id").fetchall() == [(1, "a"), (3, "a")]
        stages.revert()
        assert blue.execute("TABLE t ORDER BY id").fetchall() == [(1, "a"), (3, "a")]
