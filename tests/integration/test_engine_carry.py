"""What stands on a table besides its rows goes on meaning the authority: no write gets lost through an old name."""

from __future__ import annotations

from pathlib import Path

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
    with place.stages() as stages, pytest.raises(Refused, match=r"view public\.odd \("):
        stages.expand()
    assert place.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'v2'") == []
