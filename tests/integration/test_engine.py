"""The change engine on a real Postgres: there and back under writers of the old release, and everything that refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from engine_writer import Writers
from servers import Server, database, superuser, within

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
from rollout.errors import Failed, Fenced, Refused

CHANGES = {"content": "002_content_consolidation", "queue": "003_queue_partitioning"}
SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 300, "lock_attempts_max": 30, "chunk_target_ms": 20,
            "compare_connections": 2, "blocker_transaction_max_seconds": 1.0, "blocker_wait_max_seconds": 1.0}  # fmt: skip
# The same rows seen from both sides, whichever of the two is the authority now.
SIDES = {
    "queue": ["SELECT id, queue_name, status, payload, created, updated FROM {old}.jobs",
              "SELECT id, queue_name, status, payload, created_at, updated_at FROM v2.jobs"],
    "content": [
        """
        SELECT {columns} FROM (
            SELECT *, count(*) OVER (PARTITION BY storage_key) AS tables FROM (
                SELECT {columns} FROM {old}.email_messages
                UNION ALL SELECT {columns} FROM {old}.content_inbox_message_refs
            ) AS one
        ) AS both_tables WHERE tables = 1
        """,
        """
        SELECT storage_key, status, subject, processed, created_at, updated_at FROM v2.email_messages
        WHERE origin <> 3
        """,
    ],
}  # fmt: skip
COLUMNS = "storage_key, status, subject, processed, created, updated"
RUNNER = """
import json, sys
from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
given = json.loads(sys.argv[1])
change = next(c for c in changes.plan(given["database"]["tier"]) if c.name == given["change"])
with ledger.connect(Database(**given["database"])) as connection:
    stages = Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**given["settings"]))
    stages.expand()
"""


@dataclass
class Place:
    """A database as found with 5,000 rows, and the tier's change."""

    target: Database
    change: changes.Change

    def app(self) -> str:
        """Return how the application connects."""
        return self.target.conninfo("app").replace("penguin_rollout", "penguin_app")

    def stages(self, connection: ledger.Connection, token: int = 1, **settings: float) -> Stages:
        """Return the stages under this fencing token."""
        return Stages(
            connection, self.change, ledger.Fence("run", token), Settings.model_construct(**SETTINGS | settings)
        )

    def differences(self, old: str) -> int:
        """Count the rows that one side has and the other has not, in one statement."""
        one, other = (f"({side.format(old=old, columns=COLUMNS)})" for side in SIDES[self.target.tier])
        query = f"SELECT count(*) FROM (({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one})) AS d"
        with psycopg.connect(self.target.conninfo()) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


def prepared(server: Server, tier: str) -> Place:
    """Make the database of a tier."""
    target = database(server, tier, server.database(tier), server.port)
    rows = Path(__file__).with_name("engine_rows.sql").read_text().split(f"-- statement {tier}\n")[1]
    with psycopg.connect(target.conninfo()) as connection:
        connection.execute(rows.split("-- statement")[0].encode())
    return Place(target, next(c for c in changes.plan(tier) if c.name == CHANGES[tier]))


@pytest.fixture(params=["content", "queue"])
def place(request: pytest.FixtureRequest, server: Server) -> Place:
    """Give each tier with a swap in turn."""
    return prepared(server, request.param)


@pytest.fixture
def queue(server: Server) -> Place:
    """Give the queue alone, where one tier is enough."""
    return prepared(server, "queue")


def test_there_and_back_and_contract_under_writers(place: Place) -> None:
    """Expand, swap, revert, expand, swap: no statement fails and both sides are equal; contract then loses nothing."""
    with Writers(place.app(), place.target.tier) as writers, ledger.connect(place.target) as connection:
        stages = place.stages(connection)
        for old, step in (
            ("public", "expand"),
            ("v1", "swap"),
            ("public", "revert"),
            ("public", "expand"),
            ("v1", "swap"),
        ):
            getattr(stages, step)()
            time.sleep(0.3)
            assert place.differences(old) == 0, f"after {step}"
        assert stages.compare()["differing"] == []
        writers.end()
        assert (writers.errors, writers.statements > 200) == ([], True)
        assert stages.contract().stage == "contracted"
        table, key = ("jobs", "id") if place.target.tier == "queue" else ("email_messages", "storage_key")
        found = {str(row[key]) for row in connection.execute(f"SELECT {key} FROM public.{table}".encode())}
        assert not writers.kept - found
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('v1', 'v2')").fetchall()
        relations = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('v1', 'v2'))"
        ).fetchall()
        assert relations == [], schemas


def test_every_stage_can_be_repeated(queue: Place) -> None:
    """A stage that has been reached is not done again: nothing changes, and the ledger stays."""
    with ledger.connect(queue.target) as connection:
        stages = queue.stages(connection)
        for step, reached in (("expand", "compared"), ("swap", "swapped"), ("revert", "copied")):
            assert getattr(stages, step)().changed
            assert stages.stage() == reached
            again = getattr(stages, step)()
            assert (again.changed, stages.stage()) == (False, reached)


def test_a_row_behind_the_sync_blocks_the_swap(queue: Place, server: Server) -> None:
    """A shadow that somebody changed past the sync is found under the lock, the swap refuses; a new expand heals it."""
    with ledger.connect(queue.target) as connection, psycopg.connect(queue.app(), autocommit=True) as app:
        stages = queue.stages(connection)
        stages.expand()
        app.execute("UPDATE jobs SET status = 'failed' WHERE id = md5('j7')::uuid")
        with superuser(server.port, queue.target.dbname) as intruder:
            intruder.execute("SET session_replication_role = replica")
            intruder.execute("UPDATE v2.jobs SET status = 'lost' WHERE id = md5('j7')::uuid")
        with pytest.raises(Failed, match="both sides differ"):
            stages.swap()
        assert stages.stage() == "mismatched"
        assert app.execute("SELECT relkind FROM pg_class WHERE oid = 'public.jobs'::regclass").fetchone() == ("r",)
        stages.expand()
        stages.swap()
        assert queue.differences("v1") == 0


def test_an_older_token_is_fenced(queue: Place) -> None:
    """A runner that was thought dead can neither go on nor begin once a newer one holds the fence."""
    with ledger.connect(queue.target) as connection:
        old = queue.stages(connection, token=1)
        old.expand()
        new = queue.stages(connection, token=2)
        for act in (old.swap, lambda: queue.stages(connection, token=1)):
            with pytest.raises(Fenced, match="fencing token 1, the ledger has 2"):
                act()
        assert new.stage() == "compared"
        assert new.swap().changed


def test_a_long_blocker_refuses_the_swap_by_name(queue: Place) -> None:
    """The refusal names who is in the way, nothing has moved, and the same call succeeds once the blocker is gone."""
    with (
        ledger.connect(queue.target) as connection,
        psycopg.connect(queue.target.conninfo("nightly report")) as blocker,
    ):
        stages = queue.stages(connection, lock_attempts_max=3, blocker_transaction_max_seconds=0.2)
        stages.expand()
        blocker.execute("SELECT count(*) FROM jobs")
        time.sleep(0.3)
        with pytest.raises(Refused, match=rf"pid {blocker.info.backend_pid} .*nightly report"):
            stages.swap()
        assert stages.stage() == "compared"
        blocker.rollback()
        assert stages.swap().changed


def test_the_stall_budget_ends_the_asking(queue: Place) -> None:
    """Behind short transactions, which nobody waits out, the sum of what clients were made to wait is the limit."""
    with ledger.connect(queue.target) as connection, psycopg.connect(queue.target.conninfo("busy")) as blocker:
        stages = queue.stages(
            connection, stall_budget_total_ms=250, stall_budget_once_ms=100, blocker_transaction_max_seconds=60.0
        )
        stages.expand()
        blocker.execute("SELECT count(*) FROM jobs")
        with pytest.raises(Refused, match="in the way: pid") as refused:
            stages.swap()
        assert "asking 3 times" in str(refused.value)
        assert stages.stage() == "compared"


def test_a_killed_copy_goes_on(queue: Place) -> None:
    """After kill -9 between two chunks the same call goes on behind the last one, and copies no row twice."""
    with psycopg.connect(queue.target.conninfo(), autocommit=True) as owner:
        owner.execute(
            "INSERT INTO jobs (queue_name, payload) SELECT 'email-sending', '{}' FROM generate_series(1, 60000)"
        )
    given = {
        "database": queue.target.model_dump(),
        "change": queue.change.name,
        "settings": SETTINGS | {"chunk_target_ms": 5},
    }
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, json.dumps(given)])
    try:
        with ledger.connect(queue.target) as connection:

            def half_way() -> None:
                assert ledger.checkpoint(connection, queue.change.name, "copy_public.jobs")["rows"] > 1000

            within(30, half_way)
            runner.send_signal(signal.SIGKILL)
            runner.wait()
            within(10, lambda: _alone(connection))
            before = ledger.checkpoint(connection, queue.change.name, "copy_public.jobs")
            assert not before["finished"]
            stages = queue.stages(connection)
            assert stages.stage() == "expanded"
            copied = stages.expand().facts["copies"][0]["rows"]
            total = connection.execute("SELECT count(*) AS n FROM jobs").fetchone()
            assert total is not None
            assert copied + before["rows"] == total["n"]
        assert queue.differences("public") == 0
    finally:
        runner.kill()
        runner.wait()


def test_edited_files_are_refused(queue: Place, tmp_path: Path) -> None:
    """What was expanded is what is swapped: a change whose files differ from the ledger's digest goes no further."""
    for path in queue.change.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with ledger.connect(queue.target) as connection:
        queue.stages(connection).expand()
        folder = tmp_path.rename(tmp_path.with_name(queue.change.name))
        (folder / "shadow.sql").write_bytes((folder / "shadow.sql").read_bytes() + b"\n")
        edited = Place(queue.target, changes.Change("queue", folder, queue.change.declaration))
        with pytest.raises(Refused, match="changed since it was expanded"):
            edited.stages(connection).swap()


def _alone(connection: ledger.Connection) -> None:
    """Raise while a backend of the killed runner is still at work."""
    row = connection.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND usename = 'penguin_rollout'"
    ).fetchone()
    assert row == {"n": 0}
