"""008 on oltp and content, and renames of a test's own: clients of both kinds through swap, rollback, re-apply and contract."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg_pool import ConnectionPool
from servers import Server, database, postgres_binaries, superuser

from rollout.engine import changes, constraining, ledger, renamed
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
from rollout.errors import Refused

NAME = "008_timestamps"
SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 300, "lock_attempts_max": 30, "chunk_target_ms": 20,
            "blocker_transaction_max_seconds": 1.0}  # fmt: skip
T1, T2 = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


@contextmanager
def stages(target: Database, change: changes.Change) -> Iterator[Stages]:
    """Yield the stages of a change over a connection of their own."""
    with ledger.connect(target) as connection:
        yield Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS))


def run(target: Database, change: changes.Change, *names: str) -> dict[str, Any]:
    """Run stages one after the other; return the facts of the last one."""
    facts: dict[str, Any] = {}
    for name in names:
        with stages(target, change) as on:
            facts = getattr(on, name)().facts
    return facts


def dump(target: Database) -> str:
    """Return the schema as pg_dump writes it, without the ledger and what names the run of pg_dump."""
    argv = [postgres_binaries() / "pg_dump", "-s", "-N", "rollout", "-d", target.conninfo()]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def tier(server: Server, name: str) -> tuple[Database, changes.Change]:
    """Return a database of a tier with everything before 008 as after its swap, and 008."""
    target = database(server, name, server.database(name), server.port)
    plan = {change.name: change for change in changes.plan(name)}
    for change in changes.required(plan[NAME]):
        run(target, change, "expand", "swap")
    return target, plan[NAME]


def own(server: Server, folder: Path, setup: str, **declared: Any) -> tuple[Database, changes.Change]:
    """Return an empty tier with `setup` in it, and a rename of a test's own."""
    target = database(server, "queue", server.database("queue"), server.port)
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute(setup.encode())
    said = {"change": "001_rename", "kind": "rename", "summary": "a test's", "rename": {"created": "created_at"}}
    (folder / "001_rename").mkdir()
    (folder / "001_rename" / "change.yml").write_text(yaml.safe_dump(said | declared))
    return target, changes.load("queue", folder / "001_rename")


def as_app(target: Database, search_path: str = "public") -> str:
    """Return how the application connects."""
    conninfo = target.conninfo("penguin-v1-blue").replace("penguin_rollout", "penguin_app")
    return f"{conninfo} options='-c search_path={search_path} -c app.current_tenant_id={T1}'"


class Blue(threading.Thread):
    """Old clients with prepared statements, without a pause: what they write is read back by the old names."""

    def __init__(self, target: Database) -> None:
        super().__init__()
        self.pool = ConnectionPool(as_app(target), min_size=2, max_size=2, open=True, kwargs={"prepare_threshold": 0})
        self.errors: list[str] = []
        self.rounds, self.done = 0, threading.Event()

    def run(self) -> None:
        """Write and read until told to end."""
        while not self.done.is_set():
            try:
                with self.pool.connection() as connection:
                    self.round(connection)
            except psycopg.Error as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            self.rounds += 1

    def round(self, connection: psycopg.Connection[Any]) -> None:
        """Insert, upsert, update, lock and read, as oltp's clients do."""
        campaign, lead = uuid.uuid4(), f"{uuid.uuid4()}@example.org"
        connection.execute("SELECT set_config('app.current_tenant_id', %s, true)", (T1,))
        connection.execute("INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, %s, 'c')", (campaign, T1))
        upsert = (
            "INSERT INTO leads (tenant_id, email) VALUES (%s, %s) ON CONFLICT (tenant_id, email)"
            " DO UPDATE SET updated = now() RETURNING id"
        )
        assert connection.execute(upsert, (T1, lead)).fetchone() == connection.execute(upsert, (T1, lead)).fetchone()
        connection.execute("UPDATE campaigns SET updated = '2001-01-01', created = created WHERE id = %s", (campaign,))
        row = connection.execute("SELECT * FROM campaigns WHERE id = %s FOR UPDATE SKIP LOCKED", (campaign,)).fetchone()
        assert row is not None and len(row) == 10 and row[-1].year == 2001 and row[-2].year > 2001
        connection.execute("INSERT INTO folders (tenant_id, name) VALUES (%s, 'f')", (T1,))
        assert len(connection.execute("SELECT * FROM leads LIMIT 1").fetchone() or ()) == 7

    def stop(self) -> None:
        """End, and insist that nothing failed and something was done."""
        self.done.set()
        self.join(10)
        self.pool.close()
        assert not self.errors, self.errors[:3]
        assert self.rounds > 5


def look_at_swapped(server: Server, target: Database) -> None:
    """Insist on what a swap leaves: mended rows with their evidence, checked constraints, views that give nobody more."""
    with superuser(server.port, target.dbname) as connection:
        kept = connection.execute("SELECT name, rule, row ->> 'id' IS NOT NULL FROM rollout.mended ORDER BY id").fetchall()
        assert kept == [
            ("leads_tenant_id_fkey", "parent", True),
            ("feature_flags_rollout_percentage_check", kept[1][1], True),
        ]
        made = "SELECT deleted IS NOT NULL FROM tenants WHERE id = %s"
        assert connection.execute(made, (T2,)).fetchone() == (True,)
        assert connection.execute("SELECT rollout_percentage FROM feature_flags").fetchone() == (100,)
        assert connection.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated").fetchone() == (0,)
        views = "SELECT count(*), bool_and(reloptions @> '{security_invoker=true}') FROM pg_class"
        views += " WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace AND relname <> 'recent'"
        assert connection.execute(views).fetchone() == (30, True)
        may = "SELECT has_column_privilege('penguin_analyst', 'plans', %s, 'SELECT')"
        assert [connection.execute(may, (c,)).fetchone() for c in ("created", "name")] == [(True,), (False,)]


def test_oltp_there_and_back_and_home(server: Server) -> None:
    """Old and new clients go on through swap, rollback, re-apply and contract; after a rollback the schema is what it was."""
    target, change = tier(server, "oltp")
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("INSERT INTO tenants (id) VALUES (%s)", (T1,))
        owner.execute("INSERT INTO leads (tenant_id, email) VALUES (%s, 'orphan')", (T2,))
        owner.execute("INSERT INTO feature_flags (name, rollout_percentage) VALUES ('f', 120)")
        owner.execute("GRANT SELECT (id, created), UPDATE (updated) ON plans TO penguin_analyst")
        owner.execute("CREATE VIEW recent AS SELECT id, created FROM companies WHERE updated > now() - interval '1 day'")
    run(target, change, "expand")
    as_found = dump(target)
    blue = Blue(target)
    blue.start()
    try:
        facts = run(target, change, "swap")
        assert facts["tables"] == 30
        swapped = dump(target)
        with psycopg.connect(as_app(target, "v2,public"), prepare_threshold=0) as green:
            green.execute("SELECT set_config('app.current_tenant_id', %s, true)", (T1,))
            green.execute("INSERT INTO leads (tenant_id, email, created_at) VALUES (%s, 'green', '2002-01-01')", (T1,))
            assert green.execute("SELECT count(*) FROM leads WHERE created_at IS NULL").fetchone() != (0,)
            assert green.execute("SELECT created_at IS NOT NULL FROM campaigns LIMIT 1").fetchone() == (True,)
        look_at_swapped(server, target)
        run(target, change, "revert")
        assert dump(target) == as_found
        run(target, change, "expand", "swap")
        assert dump(target) == swapped
        run(target, change, "revert")
        assert dump(target) == as_found
        run(target, change, "expand", "swap")
    finally:
        blue.stop()
    with psycopg.connect(as_app(target, "v2,public"), autocommit=True, prepare_threshold=0) as green:
        select = "SELECT id, created_at, updated_at FROM campaigns ORDER BY id LIMIT 3"
        before = green.execute(select).fetchall()
        for earlier in (*changes.required(change), change):
            run(target, earlier, "contract")
        assert green.execute(select).fetchall() == before
    with superuser(server.port, target.dbname) as connection:
        left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'v2'::regnamespace AND relkind IN ('r', 'v')"
        assert connection.execute(left).fetchone() == (0,)
        named = "SELECT count(*) FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid AND c.relkind = 'r'"
        named += " WHERE c.relnamespace = 'public'::regnamespace AND attname IN ('created', 'updated')"
        assert connection.execute(named).fetchone() == (0,)


def test_content_leaves_what_002_rewrote(server: Server) -> None:
    """Of content 002's two tables are left out, columns that were missing are there, and 002 can be taken back after 008."""
    target, change = tier(server, "content")
    with psycopg.connect(as_app(target), autocommit=True, prepare_threshold=0) as blue:
        store = "INSERT INTO email_content (storage_key, tenant_id, content_text) VALUES (%s, %s, 't') ON CONFLICT DO NOTHING"
        read = "SELECT * FROM email_content ORDER BY storage_key"
        blue.execute(store, ("a", T1))
        columns = len(blue.execute(read).fetchone() or ())
        run(target, change, "expand")
        as_found = dump(target)
        for _ in range(2):
            assert run(target, change, "expand", "swap")["tables"] == 11
            blue.execute(store, ("b", T1))
            blue.execute("INSERT INTO email_messages (storage_key, tenant_id, direction) VALUES ('b', %s, 'inbound')"
                         " ON CONFLICT DO NOTHING", (T1,))  # fmt: skip
            assert {len(row) for row in blue.execute(read).fetchall()} == {columns}
            with psycopg.connect(as_app(target, "v2,public")) as green:
                stamps = green.execute("SELECT storage_key, updated_at IS NULL FROM email_content ORDER BY 1").fetchall()
                assert stamps[0] == ("a", True)
            run(target, change, "revert")
            assert dump(target) == as_found
        for earlier in reversed(changes.required(change)):
            run(target, earlier, "revert")
        for again in (*changes.required(change), change):
            run(target, again, "expand", "swap")
        for done in (*changes.required(change), change):
            run(target, done, "contract")
        with psycopg.connect(as_app(target, "v2,public")) as green:
            for table in ("email_content", "email_messages", "attachments", "notifications"):
                green.execute(f"SELECT created_at, updated_at FROM {table}".encode())


def test_killed_between_two_tables(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap, a revert or a contract that was stopped between two tables is finished by the same command, or taken back."""
    mend = {"why": "a test's", "set": {"priority": "0"}}
    positive = {"table": "public.jobs", "name": "jobs_priority_check", "check": "priority >= 0", "mend": mend}
    target, change = own(server, tmp_path, "INSERT INTO jobs (priority, payload) VALUES (-1, '{}')", constraints=[positive])
    run(target, change, "expand")
    as_found = dump(target)

    @contextmanager
    def killed_at(of: Any, function: str, count: int) -> Iterator[None]:
        calls, real = [0], getattr(of, function)

        def dies(*given: Any) -> Any:
            calls[0] += 1
            if calls[0] == count:
                raise KeyboardInterrupt
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(of, function, dies)
            try:
                yield
            except KeyboardInterrupt:
                return
            pytest.fail(f"{function} was called {calls[0]} times")

    with killed_at(renamed.Renamed, "swap", 3):
        run(target, change, "swap")
    with stages(target, change) as on:
        assert on.stage() == "swapped"
        with pytest.raises(Refused, match="swapped"):
            on.discard()
    assert run(target, change, "swap")["tables"] == 4
    swapped = dump(target)
    with killed_at(renamed.Renamed, "revert", 3):
        run(target, change, "revert")
    assert dump(target) not in (as_found, swapped)
    assert run(target, change, "swap")["tables"] == 4
    assert dump(target) == swapped
    with killed_at(renamed.Renamed, "revert", 3):
        run(target, change, "revert")
    run(target, change, "revert")
    assert dump(target) == as_found
    for function in ("mend", "validate"):
        with killed_at(constraining, function, 1):
            run(target, change, "expand", "swap")
        run(target, change, "revert")
        assert dump(target) == as_found
    run(target, change, "expand", "swap")
    assert dump(target) == swapped
    with superuser(server.port, target.dbname) as connection:
        assert connection.execute("SELECT row ->> 'priority' FROM rollout.mended").fetchall() == [("-1",)]
    with killed_at(renamed.Renamed, "contract", 3):
        run(target, change, "contract")
    with pytest.raises(Refused, match="contracting"):
        run(target, change, "revert")
    run(target, change, "contract")


OBJECTS = """
CREATE SCHEMA other;
CREATE TABLE "Odd ""x" ("user" int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, created timestamptz DEFAULT now(), "x y" text);
COMMENT ON TABLE "Odd ""x" IS 'odd'; COMMENT ON COLUMN "Odd ""x".created IS 'when';
ALTER TABLE "Odd ""x" ADD CHECK (created > '1999-01-01'), ADD doubled int GENERATED ALWAYS AS ("user" * 2) STORED;
CREATE INDEX ON "Odd ""x" (created DESC) WHERE "x y" IS NOT NULL;
CREATE STATISTICS odd (dependencies) ON created, "x y" FROM "Odd ""x";
CREATE PUBLICATION odd FOR TABLE "Odd ""x" ("user", created);
CREATE TABLE child ("user" int REFERENCES "Odd ""x" ON DELETE CASCADE, created date DEFAULT '2020-01-01');
CREATE MATERIALIZED VIEW counted AS SELECT created, count(*) FROM "Odd ""x" GROUP BY 1;
ALTER TABLE "Odd ""x" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON "Odd ""x" TO penguin_app USING (created < 'infinity' AND "user" < 10);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."x y" := coalesce(NEW."x y", 'z'); RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE OF created ON "Odd ""x" FOR EACH ROW EXECUTE FUNCTION stamp();
GRANT ALL ON "Odd ""x" TO penguin_app WITH GRANT OPTION; GRANT SELECT (created) ON "Odd ""x" TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO penguin_auditor;
"""


def test_whatever_is_on_a_table_rides_along(server: Server, tmp_path: Path) -> None:
    """Quoted names, identity, generated columns, policies, statistics, publications, matviews; the view gives nobody more."""
    wanted = ['public.Odd "x', "public.child"]
    target, change = own(server, tmp_path, OBJECTS, tables=wanted)
    run(target, change, "expand")
    as_found = dump(target)
    with psycopg.connect(as_app(target), autocommit=True, prepare_threshold=0) as blue:
        insert = 'INSERT INTO "Odd ""x" AS o ("x y") VALUES (%s) ON CONFLICT ("user") DO NOTHING RETURNING "user", "x y", doubled'
        first = blue.execute(insert, (None,)).fetchone()
        run(target, change, "swap")
        second = blue.execute(insert, (None,)).fetchone()
        assert (first, second) == ((1, "z", 2), (2, "z", 4))
        assert blue.execute('SELECT created FROM "Odd ""x" WHERE "user" = 2').fetchone() is not None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            blue.execute('INSERT INTO "Odd ""x" ("user") VALUES (10)')
        with superuser(server.port, target.dbname) as connection:
            may = "SELECT has_table_privilege('penguin_auditor', '\"Odd \"\"x\"', 'SELECT')"
            assert connection.execute(may).fetchone() == (False,)
            connection.execute("REFRESH MATERIALIZED VIEW counted")
        run(target, change, "revert")
        assert dump(target) == as_found
        assert blue.execute(insert, (None,)).fetchone() == (3, "z", 6)


STAMP = """
CREATE FUNCTION s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.created := now(); RETURN NEW; END $$;
CREATE TRIGGER s BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION s()
"""


@pytest.mark.parametrize(
    ("setup", "told"),
    [
        (STAMP, "its function public.s() says created"),
        ("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "rule r on it"),
        ("CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function f(t) uses its row type"),
        ("ALTER TABLE t ADD created_at date", "it has a column created_at already"),
        ("CREATE TABLE u (LIKE t) INHERITS (t)", "it inherits, or is inherited from"),
        ("CREATE SCHEMA v2; CREATE VIEW v2.t AS SELECT 1", "v2.t exists"),
        ("CREATE TABLE p (created date) PARTITION BY LIST (created)", "public.p: it is a relation of kind p"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_written(server: Server, tmp_path: Path, setup: str, told: str) -> None:
    """What cannot be carried is named by expand, which leaves nothing behind."""
    target, change = own(server, tmp_path, f"CREATE TABLE t (id int PRIMARY KEY, created date); {setup}", without=[
        f"public.{name}" for name in ("jobs", "job_logs", "job_queues", "analytics_jobs")])  # fmt: skip
    as_found = dump(target)
    with pytest.raises(Refused) as error:
        run(target, change, "expand")
    assert told in error.value.observed
    assert dump(target) == as_found


def test_what_stands_on_a_view_is_not_dropped(server: Server, tmp_path: Path) -> None:
    """A view that was made on the old name since the swap refuses the way back by name, before anything is taken back."""
    target, change = own(server, tmp_path, "CREATE TABLE t (id int PRIMARY KEY, created date)", tables=["public.t"])
    run(target, change, "expand", "swap")
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("CREATE VIEW late AS SELECT created FROM t")
        for stage in ("revert", "contract"):
            with pytest.raises(Refused, match=r"public\.t: (public\.)?late"):
                run(target, change, stage)
        owner.execute("DROP VIEW late")
    run(target, change, "contract")
