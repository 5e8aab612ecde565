"""Tables and databases that nobody prepared: what they have is carried, or refused by name before anything is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from engine_servers import RUNNER, Cluster
from rewrite_place import NAME, Place
from servers import superuser

from rollout.engine import changes
from rollout.environment import Database
from rollout.errors import Failed, Refused, RolloutError

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 20) AS n;"
PARTED = (
    "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT;"
    "INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 20) AS n;"
)
FUNCTIONS = (
    "CREATE FUNCTION helper(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$SELECT $1 <> 'bad'$$;"
    "CREATE FUNCTION is_ok(text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN helper($1); END$$;"
)
THERE_AND_BACK = ("expand", "swap", "revert", "expand", "swap", "contract")


def place(target: Database, folder: Path, setup: str, **declared: Any) -> Place:
    """Make the table in the test's own database and declare a rewrite of it."""
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("SET client_encoding = 'UTF8'")
        owner.execute(setup.encode())
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO penguin_app")
    said = {"sources": [{"table": "public.t"}], **declared}
    (folder / NAME).mkdir()
    lines = [f"change: {NAME}", "kind: rewrite", "summary: a test's", *(f"{k}: {v!r}" for k, v in said.items())]
    (folder / NAME / "change.yml").write_text("\n".join(lines), encoding="utf-8")
    return Place(target, changes.load("queue", folder / NAME))


def walk(made: Place, *steps: str, write: str = "") -> None:
    """Run stages, each on a connection of its own, with a write of the application's after each."""
    for step in steps:
        with made.stages() as stages:
            getattr(stages, step)()
        if write:
            with made.app() as app:
                app.execute(write.encode())


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "quote_all_identifiers = on",
        "statement_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "search_path = ''",
    ],
)
def test_defaults_that_are_meant_for_clients_do_not_reach_the_runner(target: Database, tmp_path: Path, setting: str) -> None:
    made = place(target, tmp_path, TABLE + "ALTER TABLE t ADD up int REFERENCES t;")
    with superuser(target.port) as connection:
        connection.execute(f"ALTER ROLE {RUNNER} IN DATABASE {target.dbname} SET {setting}".encode())
    walk(made, *THERE_AND_BACK)


def test_columns_may_be_named_like_the_words_of_plpgsql(target: Database, tmp_path: Path) -> None:
    words = "begin by declare execute foreach if loop strict while".split()  # noqa: SIM905
    columns = ", ".join(f'"{word}" int DEFAULT 1' for word in words[1:])
    made = place(target, tmp_path, f'CREATE TABLE t ("begin" int PRIMARY KEY, {columns}); INSERT INTO t VALUES (1)')
    walk(made, *THERE_AND_BACK, write='UPDATE t SET "by" = "by" + 1, "loop" = 7, "begin" = "begin" + 1')
    assert made.rows('SELECT "begin", "by", "loop" FROM t') == [(7, 7, 7)]


def test_a_key_that_is_only_written_otherwise_reaches_the_other_side(target: Database, tmp_path: Path) -> None:
    made = place(target, tmp_path, "CREATE TABLE t (id numeric PRIMARY KEY, v text); INSERT INTO t VALUES (1.0), (2.0)")
    walk(made, "expand", write="UPDATE t SET id = 1.00 WHERE id = 1")
    walk(made, "swap", write="UPDATE t SET id = 2.000 WHERE id = 2")
    for relation in ("v2.t", "v1.t"):
        assert made.rows(f"SELECT id::text FROM {relation} ORDER BY id") == [("1.00",), ("2.000",)]


def test_a_sync_that_was_switched_off_for_a_while_is_not_swapped(target: Database, tmp_path: Path) -> None:
    made = place(target, tmp_path, TABLE)
    walk(made, "expand")
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("ALTER TABLE t DISABLE TRIGGER USER; INSERT INTO t VALUES (99); ALTER TABLE t ENABLE TRIGGER USER")
    with made.stages() as stages:
        with pytest.raises(Failed, match="0_rollout_sync on t was disabled"):
            stages.swap()
        assert stages.stage() == "mismatched"
    walk(made, "expand", "swap")
    assert made.rows("SELECT count(*) FROM v2.t WHERE id = 99") == [(1,)]


def test_what_others_have_on_it_comes_through_contract(target: Database, tmp_path: Path) -> None:
    made = place(target, tmp_path, TABLE + """
        CREATE TABLE child (a int, b int REFERENCES t);
        INSERT INTO child VALUES (99, 1);
        ALTER TABLE child ADD CONSTRAINT late FOREIGN KEY (a) REFERENCES t NOT VALID;
        COMMENT ON CONSTRAINT late ON child IS 'why';
    """)  # fmt: skip
    asked = """
        SELECT conname, convalidated, confrelid::regclass::text, obj_description(oid) FROM pg_constraint
        WHERE conrelid = 'child'::regclass AND contype = 'f' ORDER BY 1
    """
    before = made.rows(asked)
    walk(made, *THERE_AND_BACK)
    assert made.rows(asked) == before == [("child_b_fkey", True, "t", None), ("late", False, "t", "why")]


def test_a_wide_table_is_swapped_within_its_budget(target: Database, tmp_path: Path) -> None:
    columns = ", ".join(f"c{n} text" for n in range(500))
    walk(place(target, tmp_path, f"CREATE TABLE t (id int PRIMARY KEY, {columns})"), "expand", "swap", "revert")


def test_partitions_keep_their_parameters_and_privileges(target: Database, tmp_path: Path) -> None:
    made = place(target, tmp_path, """
        ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO penguin_app;
        CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p PARTITION OF t DEFAULT WITH (fillfactor = 50);
        COMMENT ON TABLE p IS 'all';
    """)  # fmt: skip
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("REVOKE ALL ON p FROM penguin_app")
    asked = "SELECT relacl::text, reloptions, obj_description(oid, 'pg_class') FROM pg_class WHERE oid = 'p'::regclass"
    before = made.rows(asked)
    walk(made, "expand", "swap", "contract")
    assert made.rows(asked) == before


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (TABLE + FUNCTIONS + "ALTER TABLE t ADD CHECK (is_ok(v))", r"function helper\(text\) does not exist"),
        (TABLE + FUNCTIONS + "ALTER TABLE t ADD g bool GENERATED ALWAYS AS (is_ok(v)) STORED", r"helper\(text\)"),
        (TABLE + "ALTER TABLE t ADD CHECK (v <> CURRENT_USER)", "constraint t_v_check asks for the current user"),
        (TABLE + "GRANT SELECT (id), UPDATE (v) ON t TO pg_monitor", "pg_monitor may not read all of its columns"),
        ("CREATE EXTENSION ltree; CREATE TABLE t (id ltree PRIMARY KEY)", r"operator does not exist: public\.ltree"),
        (TABLE + "CREATE VIEW w AS SELECT id, v FROM t GROUP BY id", "view public.w reads it as only a table"),
        (TABLE + "CREATE VIEW w AS SELECT id, xmin FROM t", "view public.w reads it as only a table"),
        (TABLE + "CREATE VIEW w AS SELECT id FROM t TABLESAMPLE system (9)", "view public.w reads it as only a table"),
        ("CREATE TYPE it AS (id int); CREATE TABLE t OF it (PRIMARY KEY (id))", "its type public.it is bound to it"),
        (TABLE + "CREATE SCHEMA v1; CREATE TABLE v1.t (id int)", "v1.t exists"),
        (PARTED + "CREATE SCHEMA o; ALTER TABLE p SET SCHEMA o", "schema o of its partition p"),
        (PARTED + "CREATE INDEX own ON p (v)", "index own of its partition p"),
        (PARTED + "ALTER TABLE p ADD CONSTRAINT own CHECK (id > 0)", "constraint own of its partition p"),
        (PARTED + "ALTER TABLE p ALTER v SET DEFAULT 'x'", "default of column v of its partition p"),
        (PARTED + "ALTER TABLE p ENABLE ROW LEVEL SECURITY", "row security of its partition p"),
        (PARTED + "CREATE POLICY own ON p USING (true)", "policy own of its partition p"),
        (PARTED + "CREATE VIEW w AS TABLE p", "view public.w of its partition p"),
        (PARTED + "CREATE TABLE child (a int REFERENCES p (id))", "foreign key child_a_fkey of public.child of its partition p"),
    ],
)
def test_what_cannot_be_carried_is_refused_before_anything_is_written(
    target: Database, tmp_path: Path, setup: str, reason: str
) -> None:
    made = place(target, tmp_path, setup)
    with made.stages() as stages:
        with pytest.raises(Refused, match=reason):
            stages.expand()
        assert stages.stage() is None
    assert made.rows("SELECT to_regclass('v2.t')") == [(None,)]


def test_a_subscription_that_writes_to_it_is_refused(target: Database, tmp_path: Path) -> None:
    made = place(target, tmp_path, TABLE)
    with superuser(target.port, target.dbname) as connection:
        connection.execute("CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)")
        connection.execute("INSERT INTO pg_subscription_rel SELECT oid, 't'::regclass, 'r' FROM pg_subscription")
        try:
            with made.stages() as stages, pytest.raises(Refused, match="subscription feed is bound to it"):
                stages.expand()
        finally:
            connection.execute("ALTER SUBSCRIPTION feed SET (slot_name = NONE)")
            connection.execute("DROP SUBSCRIPTION feed")


def test_a_partitioned_child_is_refused_where_contract_could_not_take_it_home(
    cluster: Cluster, target: Database, tmp_path: Path
) -> None:
    made = place(target, tmp_path, TABLE + """
        CREATE TABLE child (a int REFERENCES t, n int) PARTITION BY LIST (n);
        CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1);
    """)  # fmt: skip
    with superuser(cluster.port) as connection:
        old = connection.info.server_version < 180000
    if old:
        with made.stages() as stages, pytest.raises(Refused, match=r"child_a_fkey of public\.child, a partitioned table"):
            stages.expand()
    else:
        walk(made, *THERE_AND_BACK)


def test_a_schema_whose_name_is_as_long_as_a_name_may_be(target: Database, tmp_path: Path) -> None:
    long = "s" * 63
    made = place(
        target, tmp_path, f"CREATE SCHEMA {long}; CREATE TABLE {long}.t (id int PRIMARY KEY)",
        sources=[{"table": f"{long}.t"}],
    )  # fmt: skip
    with made.stages() as stages, pytest.raises(RolloutError, match=re.escape("are too long")):
        stages.expand()


def test_what_only_a_newer_version_has_is_carried_there(target: Database, tmp_path: Path) -> None:
    with superuser(target.port, target.dbname) as connection:
        connection.execute("CREATE EXTENSION btree_gist")
        new = connection.info.server_version >= 180000
    over = "UNIQUE (id, at WITHOUT OVERLAPS)" if new else "EXCLUDE USING gist (id WITH =, at WITH &&)"
    loose = "NOT ENFORCED" if new else ""
    made = place(target, tmp_path, f"""
        CREATE TABLE t (k int PRIMARY KEY, id int, at daterange, {over}, CONSTRAINT loose CHECK (k < 5) {loose});
        INSERT INTO t VALUES (1, 1, '[2020-01-01,2021-01-01)');
    """)  # fmt: skip
    asked = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass ORDER BY 1"
    before = made.rows(asked)
    walk(made, *THERE_AND_BACK, write=f"UPDATE t SET id = id + 1, k = k + {3 if new else 0}")
    assert made.rows(asked) == before


def test_a_database_of_another_encoding(cluster: Cluster, tmp_path: Path) -> None:
    target = cluster.database()
    with superuser(cluster.port) as connection:
        connection.execute(f"DROP DATABASE {target.dbname}".encode())
        connection.execute(
            f"CREATE DATABASE {target.dbname} OWNER {RUNNER} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0".encode()
        )
    setup = """
        CREATE TABLE "été" ("clé" text PRIMARY KEY);
        INSERT INTO "été" SELECT 'é' || n FROM generate_series(1, 9) AS n
    """
    try:
        made = place(target, tmp_path, setup, sources=[{"table": "public.été"}])
        walk(made, *THERE_AND_BACK)
    finally:
        cluster.drop(target)
