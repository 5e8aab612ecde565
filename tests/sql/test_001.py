"""001 in all four databases: what it documents, that it can be repeated, that discard leaves comments as found."""

from __future__ import annotations

import time

import psycopg
import pytest
from servers import Server
from stages import Change

NAME = "001_cross_database_integrity"
COMMENTS = """
SELECT c.relname, d.objsubid, d.description FROM pg_description AS d JOIN pg_class AS c ON c.oid = d.objoid
WHERE c.relnamespace = 'public'::regnamespace AND d.classoid = 'pg_class'::regclass ORDER BY 1, 2
"""


@pytest.mark.parametrize("tier", ["content", "queue", "olap"])
def test_comments_come_and_go(server: Server, tier: str) -> None:
    """Expand twice documents each reference once below the comment as found; discard restores every comment."""
    change = Change(tier, NAME, server, server.database(tier))
    as_found = change.connection.execute(COMMENTS).fetchall()
    change.stage("expand")
    once = change.connection.execute(COMMENTS).fetchall()
    change.stage("expand")
    assert change.connection.execute(COMMENTS).fetchall() == once
    assert once != as_found
    for relation, column, words in as_found:
        assert any(r == relation and c == column and w.startswith(words) for r, c, w in once)
    change.stage("discard")
    assert change.connection.execute(COMMENTS).fetchall() == as_found
    change.close()


def test_notifications_are_bounded(server: Server) -> None:
    """Each new, deleted or moved referent is announced; a statement over more than 100 rows is announced once."""
    database = server.database("oltp")
    change = Change("oltp", NAME, server, database)
    change.stage("expand")
    change.stage("expand")
    with (
        psycopg.connect(server.conninfo(database), autocommit=True) as listener,
        psycopg.connect(server.conninfo(database, "penguin_app"), autocommit=True) as app,
    ):
        listener.execute("LISTEN rollout_references")

        def heard() -> list[str]:
            return [n.payload for n in listener.notifies(timeout=0.3)]

        insert = (
            "INSERT INTO leads (tenant_id, email) SELECT gen_random_uuid(), 'a'"
            " FROM generate_series(1, %s) RETURNING tenant_id, id"
        )
        rows = app.execute(insert, (2,)).fetchall()
        assert sorted(heard()) == sorted(f"lead {t} {i}" for t, i in rows)
        app.execute("UPDATE leads SET name = 'n'")
        assert heard() == []
        app.execute("UPDATE leads SET tenant_id = gen_random_uuid() WHERE id = %s", (rows[0][1],))
        assert len(heard()) == 2
        app.execute(insert, (101,))
        assert heard() == ["lead many"]
        app.execute("DELETE FROM leads")
        assert heard() == ["lead many"]
        change.connection.execute("TRUNCATE email_accounts CASCADE")
        assert "email_account many" in heard()
        with psycopg.connect(server.conninfo(database, "postgres"), autocommit=True) as replica:
            replica.execute("SET session_replication_role = replica")
            replica.execute("INSERT INTO campaigns (tenant_id, name) VALUES (gen_random_uuid(), 'c')")
        assert len(heard()) == 1
        change.stage("discard")
        app.execute("DELETE FROM campaigns")
        assert heard() == []
    change.close()


def test_triggers_cost_little(server: Server) -> None:
    """Ten thousand leads in one statement are inserted within seconds, because at most 101 rows are looked at."""
    database = server.database("oltp")
    change = Change("oltp", NAME, server, database)
    change.stage("expand")
    started = time.monotonic()
    change.connection.execute(
        "INSERT INTO leads (tenant_id, email) SELECT gen_random_uuid(), 'a' || n FROM generate_series(1, 10000) AS n"
    )
    change.connection.execute("UPDATE leads SET name = 'n'")
    assert time.monotonic() - started < 5
    change.close()
