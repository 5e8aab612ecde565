"""What stands on a table besides its rows goes on meaning the authority: no write gets lost through an old name."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from rewrite_place import Place
from servers import Server

from rollout.errors import Refused

THINGS = "CREATE TABLE things (id integer PRIMARY KEY, name text, kind text);\n"
ROWS = "INSERT INTO things SELECT n, 'n' || n, 'k' FROM generate_series(1, 50) AS n;\n"
SHAPED = {"sources": [{"table": "public.things", "rename": {"name": "title"}}], "target": {"drop": ["kind"]}}


def test_a_view_in_leave_is_written_through_until_contract(server: Server, tmp_path: Path) -> None:
    """Its rows reach the authority on every side of the swap; one that nobody can write through reads the shadow."""
    views = """CREATE VIEW names AS SELECT id, name, kind FROM things WHERE id > 0;
        CREATE VIEW asked WITH (security_invoker) AS SELECT id, name FROM things;
        CREATE VIEW told AS SELECT name, kind, count(*) FROM things GROUP BY id;"""
    place = Place.make(
        server, tmp_path, THINGS + ROWS + views, **SHAPED, leave=["public.names", "public.asked", "public.told"]
    )
    with place.stages() as stages, place.app() as app:
        for step, number in (("expand", 100), ("swap", 200), ("revert", 300), ("expand", 400), ("swap", 500)):
            getattr(stages, step)()
            app.execute("INSERT INTO names VALUES (%s, 'x', 'y')", (number,))
            app.execute("UPDATE asked SET name = 'changed' WHERE id = %s", (number,))
            found = app.execute("SELECT * FROM things WHERE id = %s", (number,)).fetchall()
            assert found == [(number, "changed", "y")], step
            assert app.execute("SELECT * FROM told WHERE name = 'changed'").fetchall() == [("changed", "y", 1)] * (number // 100)
        assert stages.compare()["differing"] == []
        stages.contract()
    assert place.rows("SELECT count(*) FROM things WHERE title = 'changed'") == [(5,)]
    assert place.rows("SELECT relname FROM pg_class WHERE relname IN ('names', 'asked', 'told')") == []


@pytest.mark.parametrize(
    ("view", "left"), [("SELECT id, name FROM things TABLESAMPLE SYSTEM (100)", False), ("SELECT ctid, id FROM things", True)]
)
def test_a_view_that_can_stand_on_no_view_is_refused(server: Server, tmp_path: Path, view: str, left: bool) -> None:
    """Before anything is written, by name, with what Postgres says of it."""
    declared = {"sources": [{"table": "public.things"}], "leave": ["public.odd"] if left else []}
    place = Place.make(server, tmp_path, f"{THINGS} CREATE VIEW odd AS {view}", **declared)
    with place.stages() as stages, pytest.raises(Refused, match=r"view public\.odd reads it as only a table"):
        stages.expand()
    assert place.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'v2'") == []


PARTITIONED = """CREATE TABLE things (id integer, name text, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
CREATE TABLE things_k PARTITION OF things FOR VALUES IN ('k') PARTITION BY HASH (id);
CREATE TABLE things_k0 PARTITION OF things_k FOR VALUES WITH (MODULUS 2, REMAINDER 0) WITH (fillfactor = 70);
CREATE TABLE things_k1 PARTITION OF things_k FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE things_rest PARTITION OF things DEFAULT;
COMMENT ON TABLE things_rest IS 'what has no kind of its own';
"""
AGAIN = {"by": "hash", "columns": ["id"], "partitions": {"things_all": "FOR VALUES WITH (MODULUS 1, REMAINDER 0)"}}


@pytest.mark.parametrize("target", [{}, {"partition": AGAIN}], ids=["the same partitions", "others"])
def test_the_names_of_old_partitions_stay_until_contract(server: Server, tmp_path: Path, target: dict) -> None:
    """Old clients read and write a partition by its name on every side of the swap, within its bounds, and nothing is lost."""
    place = Place.make(
        server, tmp_path, PARTITIONED + ROWS + "ALTER DEFAULT PRIVILEGES GRANT TRUNCATE ON TABLES TO PUBLIC",
        sources=[{"table": "public.things", "rename": {"name": "title"}}], target=target,
    )  # fmt: skip
    halves = {name: place.rows(f"TABLE {name}") for name in ("things_k0", "things_k1")}
    with place.stages() as stages, place.app() as app:
        stages.expand()
        stages.discard()
        for step, number in (("expand", 100), ("swap", 200), ("revert", 300), ("expand", 400), ("swap", 500)):
            getattr(stages, step)()
            app.execute("INSERT INTO things_rest VALUES (%s, 'x', 'other')", (number,))
            app.execute("INSERT INTO things_k VALUES (%s, 'x', 'k')", (number,))
            app.execute("UPDATE things_rest SET name = 'changed' WHERE id = %s", (number,))
            app.execute("DELETE FROM things_k WHERE id = %s", (number,))
            assert app.execute("SELECT * FROM things WHERE id = %s", (number,)).fetchall() == [(number, "changed", "other")]
            with pytest.raises(psycopg.Error, match="violates"):
                app.execute("INSERT INTO things_rest VALUES (1000, 'x', 'k')")
            for name, rows in halves.items():
                assert sorted(app.execute(f"TABLE {name}".encode()).fetchall()) == sorted(rows), step
            assert place.rows("SELECT has_table_privilege('penguin_app', 'things_k0', 'TRUNCATE')") == [(False,)]
        assert stages.compare()["differing"] == []
        stages.contract()
    assert place.rows("SELECT count(*) FROM things WHERE title = 'changed'") == [(5,)]
    found = place.rows("SELECT relname, relkind, reloptions, obj_description(oid, 'pg_class') FROM pg_class"
                       " WHERE relname ~ '^things_.*[^y]$' ORDER BY 1")  # fmt: skip
    same = [("things_k", "p", None, None), ("things_k0", "r", ["fillfactor=70"], None), ("things_k1", "r", None, None),
            ("things_rest", "r", None, "what has no kind of its own")]  # fmt: skip
    assert found == ([("things_all", "r", None, None)] if target else same)


def test_what_one_partition_has_alone_is_refused(server: Server, tmp_path: Path) -> None:
    """A view on a partition would write to the shadow, an index would be lost: both are named before anything is written."""
    alone = "CREATE VIEW few AS SELECT * FROM things_rest; CREATE INDEX quick ON things_k1 (name);"
    place = Place.make(server, tmp_path, PARTITIONED + alone, sources=[{"table": "public.things"}])
    told = r"view public\.few of its partition things_rest; index quick of its partition things_k1"
    with place.stages() as stages, pytest.raises(Refused, match=told):
        stages.expand()
