"""An expand that ended in its middle, killed or refused, can be gone on with and discarded, and leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rewrite_place import NAME, Place
from servers import Server

from rollout.engine import changes, ledger
from rollout.engine.rewriting import Rewriting
from rollout.engine.stages import Stages
from rollout.errors import Refused

THINGS = "CREATE TABLE things (id integer PRIMARY KEY, name text); INSERT INTO things VALUES (1, 'one')"
PARTS = ["CREATE TABLE first (id int)", "CREATE TABLE second (id int)", "CREATE TABLE third (id int)"]
MADE = "SELECT relname FROM pg_class WHERE relname IN ('first', 'second', 'third') ORDER BY 1"
STAGE = f"SELECT stage FROM rollout.changes WHERE change = '{NAME}'"
COUNT = "(SELECT count(*) FROM rollout.{})"
LEFT = f"SELECT {', '.join(COUNT.format(name) for name in ('checkpoints', 'shapes', 'changes'))}"


def ddl(server: Server, folder: Path) -> Place:
    """Make a change of three parts, each a transaction."""
    place = Place.make(server, folder, THINGS, kind="ddl")
    (place.change.folder / "expand.sql").write_text(";\n-- statement\n".join(PARTS))
    (place.change.folder / "discard.sql").write_text("DROP TABLE IF EXISTS first, second, third")
    return Place(place.target, changes.load("queue", place.change.folder))


def killed(place: Place, part: int) -> None:
    """Expand in a process of its own that is killed (-9) once a part has run and before it is committed."""

    def run() -> None:
        advance = ledger.advance

        def dies(connection: ledger.Connection, change: str, work: str, last_key: str | None, rows: int) -> None:
            if last_key == str(part):
                os.kill(os.getpid(), signal.SIGKILL)
            advance(connection, change, work, last_key, rows)

        ledger.advance = dies
        with place.stages() as stages:
            stages.expand()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def refused(place: Place, part: int) -> None:
    """Expand and be refused, because somebody holds a lock on what the part needs."""
    with psycopg.connect(place.target.conninfo()) as other:
        other.execute("CREATE TABLE third (id int)" if part == 3 else "CREATE TABLE second (id int)")
        other.commit()
        with place.stages() as stages, pytest.raises(psycopg.errors.DuplicateTable):
            stages.expand()
        other.execute("DROP TABLE third" if part == 3 else "DROP TABLE second")


@pytest.mark.parametrize("end", [killed, refused])
@pytest.mark.parametrize("part", [2, 3])
def test_a_ddl_that_ended_in_its_middle(server: Server, tmp_path: Path, end: Callable[[Place, int], None], part: int) -> None:
    """Its stage says so; a discard takes what was made, an expand goes on; edited files are refused until it is discarded."""
    place = ddl(server, tmp_path)
    for act in ("discard", "expand"):
        end(place, part)
        assert place.rows(MADE) == [("first",), ("second",)][: part - 1]
        assert place.rows(STAGE) == [("expanding",)]
        with place.stages() as stages:
            with pytest.raises(Refused, match="is expanding, not swapped"):
                stages.contract()
            assert getattr(stages, act)().changed
            assert len(place.rows(MADE)) == (0 if act == "discard" else 3)
            assert place.rows(LEFT) == ([(0, 0, 0)] if act == "discard" else [(0, 0, 1)])
            if act == "discard":
                assert not stages.discard().changed


def test_a_ddl_that_was_edited_in_its_middle(server: Server, tmp_path: Path) -> None:
    """Which part is the next nobody can say: refused by name, and possible again after a discard."""
    place = ddl(server, tmp_path)
    killed(place, 3)
    (place.change.folder / "expand.sql").write_text(";\n-- statement\n".join(reversed(PARTS)))
    edited = Place(place.target, changes.load("queue", place.change.folder))
    with edited.stages() as stages:
        with pytest.raises(Refused, match=f"invoke change.discard --change {NAME}"):
            stages.expand()
        stages.discard()
        stages.expand()
    assert len(place.rows(MADE)) == 3


def test_a_rewrite_whose_sync_was_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shadow is made, the sync is not armed: a discard drops it, an expand begins anew."""
    place = Place.make(server, tmp_path, THINGS, sources=[{"table": "public.things", "rename": {"name": "title"}}])

    def refuse(self: Rewriting, *given: Any, **more: Any) -> dict[str, Any]:
        raise Refused("no lock", next="repeat it")

    def half(stages: Stages) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Rewriting, "locked", refuse)
            with pytest.raises(Refused, match="no lock"):
                stages.expand()
        assert place.rows(STAGE) == [("expanding",)] and place.rows("SELECT to_regclass('v2.things') IS NOT NULL") == [(True,)]

    with place.stages() as stages:
        half(stages)
        assert stages.discard().changed
        assert place.rows("SELECT to_regclass('v2.things')") == [(None,)] and place.rows(LEFT) == [(0, 0, 0)]
        half(stages)
        stages.expand()
        stages.swap()
        stages.revert()
        stages.discard()
    assert place.rows("SELECT * FROM things") == [(1, "one")] and place.rows(LEFT) == [(0, 0, 0)]
