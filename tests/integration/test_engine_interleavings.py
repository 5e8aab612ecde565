"""Interleavings that a reviewer found, each played on purpose: keys under both old names, one id in two queues, late parents."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from servers import Server
from test_engine import Place, prepared

from rollout.engine import ledger
from rollout.engine.stages import Stages
from rollout.errors import Failed, Refused

KEY = "twice"


@pytest.fixture
def content(server: Server) -> Iterator[tuple[Place, Stages, psycopg.Connection]]:
    """The content tier with one key in both tables, swapped; and a blue session."""
    place = prepared(server, "content")
    with psycopg.connect(place.target.conninfo(), autocommit=True) as owner:
        owner.execute("INSERT INTO email_content (storage_key, tenant_id) VALUES (%s, gen_random_uuid())", (KEY,))
        for table, subject in (("email_messages", "sent"), ("content_inbox_message_refs", "received")):
            owner.execute(
                f"INSERT INTO {table} (storage_key, tenant_id, subject) VALUES (%s, gen_random_uuid(), %s)".encode(),
                (KEY, subject),
            )
    with ledger.connect(place.target) as connection, psycopg.connect(place.app(), autocommit=True) as blue:
        stages = place.stages(connection)
        stages.expand()
        stages.swap()
        yield place, stages, blue


@pytest.fixture
def queue(server: Server) -> Iterator[tuple[Place, Stages, psycopg.Connection]]:
    """The queue tier, swapped; and a blue session."""
    place = prepared(server, "queue")
    with ledger.connect(place.target) as connection, psycopg.connect(place.app(), autocommit=True) as blue:
        stages = place.stages(connection)
        stages.expand()
        stages.swap()
        yield place, stages, blue


def subjects(blue: psycopg.Connection, key: str = KEY) -> list[str | None]:
    """Return what each of blue's two names says of a key; None where it has no row."""
    found = []
    for table in ("email_messages", "content_inbox_message_refs"):
        row = blue.execute(f"SELECT subject FROM {table} WHERE storage_key = %s".encode(), (key,)).fetchone()
        found.append(row[0] if row else None)
    return found


@pytest.mark.parametrize(
    ("table", "now", "after"),
    [
        ("email_messages", [None, "received"], [None, "received"]),
        ("content_inbox_message_refs", ["sent", None], ["sent", None]),
    ],
)
def test_a_delete_under_one_name_leaves_the_other(
    content: tuple[Place, Stages, psycopg.Connection], table: str, now: list[str | None], after: list[str | None]
) -> None:
    """Blue deletes one side of a key in both tables: the other side's own row is there, and still after the revert."""
    _, stages, blue = content
    deleted = blue.execute(f"DELETE FROM {table} WHERE storage_key = %s RETURNING subject".encode(), (KEY,)).fetchall()
    assert len(deleted) == 1
    assert subjects(blue) == now
    stages.revert()
    assert stages.compare()["differing"] == []
    assert subjects(blue) == after


def test_an_insert_under_the_other_name_is_told_its_row(content: tuple[Place, Stages, psycopg.Connection]) -> None:
    """Blue inserts a key that stands under its other name: it gets a row back, and the revert gives each side its own."""
    _, stages, blue = content
    blue.execute("INSERT INTO email_content (storage_key, tenant_id) VALUES ('new', gen_random_uuid())")
    insert = "INSERT INTO {} (storage_key, tenant_id, subject) VALUES ('new', gen_random_uuid(), %s) RETURNING storage_key"
    for table, subject in (("content_inbox_message_refs", "first"), ("email_messages", "second")):
        assert blue.execute(insert.format(table).encode(), (subject,)).fetchall() == [("new",)]
    assert subjects(blue, "new") == ["second", "second"]
    stages.revert()
    assert stages.compare()["differing"] == []
    assert subjects(blue, "new") == ["second", "first"]


def test_two_sessions_insert_one_key_under_both_names(content: tuple[Place, Stages, psycopg.Connection]) -> None:
    """The second of two concurrent inserts waits for the first and then succeeds, as with two tables."""
    place, _, blue = content
    blue.execute("INSERT INTO email_content (storage_key, tenant_id) VALUES ('race', gen_random_uuid())")
    insert = "INSERT INTO {} (storage_key, tenant_id) VALUES ('race', gen_random_uuid()) ON CONFLICT DO NOTHING"
    failures: list[str] = []

    def second() -> None:
        try:
            with psycopg.connect(place.app(), autocommit=True) as other:
                other.execute(insert.format("content_inbox_message_refs").encode())
        except psycopg.Error as error:
            failures.append(str(error))

    with blue.transaction():
        blue.execute(insert.format("email_messages").encode())
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert failures == []
    for table in ("email_messages", "content_inbox_message_refs"):
        assert blue.execute(f"SELECT count(*) FROM {table} WHERE storage_key = 'race'".encode()).fetchone() == (1,)


def test_one_id_stands_in_one_queue(queue: tuple[Place, Stages, psycopg.Connection]) -> None:
    """Two concurrent inserts of one id into two queues: the second is refused, as the old primary key refused it."""
    place, _, blue = queue
    job = "00000000-0000-4000-8000-000000000001"
    insert = "INSERT INTO jobs (id, queue_name, payload) VALUES (%s, %s, '{}')"
    said: list[type] = []

    def second() -> None:
        try:
            with psycopg.connect(place.app(), autocommit=True) as other:
                other.execute(insert.encode(), (job, "bounce-processing"))
        except psycopg.Error as error:
            said.append(type(error))

    with blue.transaction():
        blue.execute(insert.encode(), (job, "email-sending"))
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
    thread.join(10)
    assert said == [psycopg.errors.UniqueViolation]
    blue.execute("UPDATE jobs SET queue_name = 'webhook-processing' WHERE id = %s", (job,))
    assert blue.execute("SELECT count(*) FROM jobs WHERE id = %s", (job,)).fetchone() == (1,)


def test_a_tenant_that_the_payload_does_not_say_is_in_the_reject_ledger(
    queue: tuple[Place, Stages, psycopg.Connection],
) -> None:
    """What public.jobs cannot hold is counted while it is so, and no longer than that."""
    place, stages, _ = queue
    with psycopg.connect(f"{place.app()} options='-c search_path=v2,public'", autocommit=True) as green:
        row = green.execute(
            "INSERT INTO jobs (queue_name, payload, tenant_id) VALUES ('email-sending', '{}', gen_random_uuid())"
            " RETURNING id"
        ).fetchone()
        assert row is not None
        assert ledger.rejects(stages.connection) == 1
        green.execute("UPDATE jobs SET tenant_id = NULL WHERE id = %s", row)
        assert ledger.rejects(stages.connection) == 0
        green.execute("UPDATE jobs SET tenant_id = gen_random_uuid() WHERE id = %s", row)
        assert ledger.rejects(stages.connection) == 1
        green.execute("DELETE FROM jobs WHERE id = %s", row)
        assert ledger.rejects(stages.connection) == 0


def test_logs_of_unknown_jobs_are_refused_after_contract(queue: tuple[Place, Stages, psycopg.Connection]) -> None:
    """After contract a log needs its job, and the logs of a job without a queue go with it."""
    _, stages, blue = queue
    row = blue.execute("INSERT INTO jobs (queue_name, payload) VALUES (NULL, '{}') RETURNING id").fetchone()
    assert row is not None
    blue.execute("INSERT INTO job_logs (job_id, status) VALUES (%s, 'started')", row)
    stages.contract()
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        blue.execute("INSERT INTO job_logs (job_id, status) VALUES (gen_random_uuid(), 'started')")
    blue.execute("DELETE FROM jobs WHERE id = %s", row)
    assert blue.execute("SELECT count(*) FROM job_logs WHERE job_id = %s", row).fetchone() == (0,)


def test_what_is_not_carried_is_refused_before_anything_is_written(server: Server) -> None:
    """A rule on a source refuses the expand by name and leaves nothing; DDL after the expand refuses the swap."""
    place = prepared(server, "content")
    with ledger.connect(place.target) as connection:
        stages = place.stages(connection)
        connection.execute("CREATE RULE quiet AS ON DELETE TO email_messages DO ALSO NOTHING")
        with pytest.raises(Refused, match="rule quiet"):
            stages.expand()
        assert stages.stage() is None
        assert connection.execute("SELECT to_regclass('v2.email_messages') AS found").fetchone() == {"found": None}
        connection.execute("DROP RULE quiet ON email_messages")
        stages.expand()
        connection.execute("ALTER TABLE email_messages ENABLE ROW LEVEL SECURITY")
        with pytest.raises(Refused, match="row security"):
            stages.swap()
        assert stages.stage() == "compared"


def test_the_swap_reads_every_note(server: Server) -> None:
    """A corrupted shadow row among more notes than one batch holds is found before the swap."""
    place = prepared(server, "queue")
    with ledger.connect(place.target) as connection:
        stages = place.stages(connection)
        stages.expand()
        connection.execute("UPDATE public.jobs SET updated = now()")
        connection.execute("INSERT INTO rollout.dirty (change, relation, key) SELECT change, relation, key FROM rollout.dirty")
        connection.execute("UPDATE v2.jobs SET priority = 7 WHERE id = (SELECT max(id::text)::uuid FROM v2.jobs)")
        with pytest.raises(Failed, match="differ"):
            stages.swap()
        assert stages.stage() == "mismatched"


def test_a_stale_runner_deletes_no_notes(server: Server) -> None:
    """A runner whose token is void cannot take the notes that the newer one's swap relies on."""
    place = prepared(server, "queue")
    with ledger.connect(place.target) as old, ledger.connect(place.target) as new:
        stale = place.stages(old, 1)
        current = place.stages(new, 2)
        current.expand()
        new.execute("UPDATE public.jobs SET updated = now() WHERE id = (SELECT max(id::text)::uuid FROM public.jobs)")
        with pytest.raises(Refused, match="token"):
            stale.compare(note=True)
        row = new.execute("SELECT count(*) AS n FROM rollout.dirty").fetchone()
        assert row == {"n": 1}


def test_an_edit_after_expand_is_seen_after_a_revert(server: Server) -> None:
    """The digest that counts is the one the shadow was built from, whatever happened since."""
    place = prepared(server, "queue")
    with ledger.connect(place.target) as connection:
        stages = place.stages(connection)
        stages.expand()
        stages.swap()
        stages.change.__dict__["sha256"] = "edited"
        stages.revert()
        stages.compare()
        with pytest.raises(Refused, match="changed since"):
            stages.expand()
