"""006 on real servers: what is written down, by whom, in every state of the road; the chain, and each way to break it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from memorystore import MemoryStore, as_store
from psycopg.types.json import Jsonb
from servers import Server, superuser
from stages import Change

from rollout.audit import evidence, log, partitions, sealing, verification
from rollout.engine import changes
from rollout.errors import Refused

NAME = "006_audit_trail"
TENANT, USER, SESSION = (f"{n}0000000-0000-4000-8000-000000000000" for n in "123")
HOST = "pg-queue-1"
INSERT = "INSERT INTO jobs (queue_name, payload) VALUES (%s, %s) RETURNING id"
LAST = "SELECT * FROM public.audit_log_enhanced ORDER BY id DESC LIMIT 1"


class Tier:
    """A tier's database with all of its changes, the application's connection, and a superuser's."""

    def __init__(self, server: Server, tier: str) -> None:
        self.name = server.database(tier)
        self.changes = [Change(tier, change.name, server, self.name) for change in changes.plan(tier)]
        # Without row security: what is tried here is what the trail does, under any tenant and none.
        self.changes = [c for c in self.changes if c.change.name <= NAME and not c.change.secures]
        self.trail = next(c for c in self.changes if c.change.name == NAME)
        self.app = psycopg.connect(server.conninfo(self.name, "penguin_app"), autocommit=True)
        self.root = superuser(server.port, self.name)
        self.root.row_factory = psycopg.rows.dict_row
        self.connection = self.trail.stages.connection

    def each(self, *stages: str) -> None:
        """Take every change through stages: forward in the plan's order, back in the other."""
        for stage in stages:
            for change in reversed(self.changes) if stage == "revert" else self.changes:
                if stage == "swap" and change.change.name == "004_olap_performance":
                    self.root.execute("REFRESH MATERIALIZED VIEW v2.campaign_performance_mv")
                change.stage(stage)

    def rows(self) -> list[dict[str, Any]]:
        """Return the whole log, in the order of its ids."""
        return self.root.execute("SELECT * FROM public.audit_log_enhanced ORDER BY id").fetchall()

    def last(self) -> dict[str, Any]:
        """Return the newest row of the log."""
        row = self.root.execute(LAST).fetchone()
        assert row is not None
        return dict(row)

    def close(self) -> None:
        """Close every connection."""
        for change in self.changes:
            change.close()
        self.app.close()
        self.root.close()


@pytest.fixture
def tier(server: Server) -> Iterator[Callable[[str], Tier]]:
    """Make tiers with 006 expanded and everything swapped."""
    made: list[Tier] = []

    def make(name: str, *stages: str) -> Tier:
        made.append(Tier(server, name))
        made[-1].each(*(stages or ("expand", "swap")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_who_changed_what(tier: Callable[[str], Tier]) -> None:
    """Old and new values, only what changed, with tenant, user, session, address and agent of the transaction, or null."""
    oltp = tier("oltp")
    insert = "INSERT INTO leads (tenant_id, email) VALUES (%s, %s) RETURNING id"
    lead = oltp.app.execute(insert, (TENANT, "a@example.com")).fetchone()
    assert lead is not None
    found = oltp.last()
    assert (found["action"], found["resource_type"], found["resource_id"]) == ("insert", "leads", str(lead[0]))
    assert str(found["tenant_id"]) == TENANT, "the row's own"
    assert [found[c] for c in ("user_id", "ip_address", "user_agent", "session_id", "old_values")] == [None] * 5
    assert found["new_values"]["email"] == "a@example.com"
    settings = {"current_tenant_id": TENANT, "current_user_id": USER, "session_id": SESSION, "ip_address": "192.0.2.7",
                "user_agent": "agent"}  # fmt: skip
    with oltp.app.transaction():
        for name, value in settings.items():
            oltp.app.execute("SELECT set_config(%s, %s, true)", (f"app.{name}", value))
        oltp.app.execute("UPDATE leads SET name = 'n' WHERE id = %s", lead)
        oltp.app.execute("UPDATE leads SET name = 'n' WHERE id = %s", lead)
    found = oltp.last()
    assert (found["old_values"], found["new_values"]) == ({"name": None}, {"name": "n"})
    assert len(oltp.rows()) == 2, "an UPDATE that changes nothing is no change"
    assert [str(found[c]) for c in ("user_id", "session_id", "ip_address", "user_agent")] == [USER, SESSION, "192.0.2.7", "agent"]
    with oltp.app.transaction():  # words that are none of what they should be do not make the writer fail
        for name in settings:
            oltp.app.execute("SELECT set_config(%s, 'x', true)", (f"app.{name}",)) if name != "current_tenant_id" else None
        oltp.app.execute("DELETE FROM leads")
    found = oltp.last()
    assert (found["action"], found["new_values"], found["old_values"]["name"]) == ("delete", None, "n")
    assert [found[c] for c in ("user_id", "session_id", "ip_address", "user_agent")] == [None, None, None, "x"]
    oltp.connection.execute("TRUNCATE leads")
    assert (oltp.last()["action"], oltp.last()["resource_id"]) == ("truncate", "")
    oltp.app.execute("INSERT INTO users (name) VALUES ('u')")
    assert oltp.last()["tenant_id"] is None
    oltp.connection.execute("INSERT INTO tenants (id) VALUES (%s)", (TENANT,))
    assert str(oltp.last()["tenant_id"]) == TENANT


def test_a_column_of_later(tier: Callable[[str], Tier]) -> None:
    """A column that was added, renamed or dropped since makes no writer fail, and is compared like the others."""
    oltp = tier("oltp")
    insert = "INSERT INTO leads (tenant_id, email) VALUES (%s, 'a@example.com') RETURNING id"
    lead = oltp.app.execute(insert, (TENANT,)).fetchone()
    oltp.connection.execute("ALTER TABLE leads ADD COLUMN score int DEFAULT 1")
    oltp.connection.execute("ALTER TABLE leads RENAME COLUMN company TO employer")
    oltp.app.execute("UPDATE leads SET name = 'n' WHERE id = %s", lead)
    assert (oltp.last()["old_values"], oltp.last()["new_values"]) == ({"name": None}, {"name": "n"})
    oltp.app.execute("UPDATE leads SET score = 2, employer = 'e' WHERE id = %s", lead)
    found = oltp.last()
    assert (found["old_values"], found["new_values"]) == ({"score": 1, "employer": None}, {"score": 2, "employer": "e"})
    counted = len(oltp.rows())
    oltp.app.execute("UPDATE leads SET score = 2 WHERE id = %s", lead)
    assert len(oltp.rows()) == counted, "an UPDATE that changes nothing is no change"
    oltp.connection.execute("ALTER TABLE leads DROP COLUMN score, DROP COLUMN status")
    oltp.app.execute("UPDATE leads SET name = 'm' WHERE id = %s", lead)
    assert (oltp.last()["old_values"], oltp.last()["new_values"]) == ({"name": "n"}, {"name": "m"})


def test_content_and_secrets_are_digests(tier: Callable[[str], Tier]) -> None:
    """Of large and secret columns the trail keeps SHA-256 and length; an UPDATE that leaves them says nothing of them."""
    content = tier("content")
    content.app.execute("INSERT INTO content_objects (storage_key, tenant_id, content_text) VALUES ('k', %s, 'ä')", (TENANT,))
    told = {"sha256": hashlib.sha256("ä".encode()).hexdigest(), "bytes": 2}
    found = content.last()["new_values"]
    assert (found["content_text"], found["content_html"], found["storage_key"]) == (told, None, "k")
    content.app.execute("INSERT INTO attachments (parent_storage_key, content) VALUES ('k', %s)", (b"\0" * 10_000,))
    assert content.last()["new_values"]["content"] == {"sha256": hashlib.sha256(b"\0" * 10_000).hexdigest(), "bytes": 10_000}
    content.app.execute("UPDATE attachments SET filename = 'f'")
    assert content.last()["new_values"] == {"filename": "f"}
    content.app.execute("UPDATE attachments SET content = 'x'")
    assert set(content.last()["new_values"]) == {"content"}
    assert content.last()["new_values"]["content"]["bytes"] == 1


def test_each_write_once_in_every_state(tier: Callable[[str], Tier]) -> None:
    """Through the old name and the new one, swapped, taken back, swapped again and home: a row a write, none while reverted."""
    content = tier("content")
    keys = "INSERT INTO email_content (storage_key, tenant_id) SELECT n, %s FROM generate_series(1, 9) AS n"
    content.app.execute(keys, (TENANT,))
    counted = len(content.rows())

    def writes(key: int, table: str) -> list[tuple[str, str]]:
        nonlocal counted
        direction = "'inbound'" if "inbox" in table else "'outbound'"
        insert = f"INSERT INTO {table} (storage_key, tenant_id, direction) VALUES ('{key}', '{TENANT}', {direction})"
        content.app.execute(insert.encode())
        content.app.execute(f"UPDATE {table} SET subject = 's' WHERE storage_key = '{key}'".encode())
        new, counted = content.rows()[counted:], len(content.rows())
        return [(row["action"], row["resource_type"]) for row in new]

    once = [("insert", "email_messages"), ("update", "email_messages")]
    assert writes(1, "email_messages") == writes(2, "content_inbox_message_refs") == writes(3, "v2.email_messages") == once
    content.each("revert")
    assert writes(4, "email_messages") == writes(5, "content_inbox_message_refs") == []
    assert len(content.rows()) == counted, "what the log holds stays"
    content.each("expand", "swap")
    assert writes(6, "email_messages") == once
    content.each("contract")
    assert writes(7, "email_messages") == writes(8, "email_messages") == once
    triggers = "SELECT count(*) AS n FROM pg_trigger WHERE tgname = 'audit_trail' AND tgrelid = 'public.email_messages'::regclass"
    assert content.root.execute(triggers).fetchone() == {"n": 1}
    assert verification.verify(content.connection, []).verdict == "pass"


@pytest.mark.parametrize("stage", ["swap", "revert"])
def test_half_a_swap_is_taken_back_or_goes_on(tier: Callable[..., Tier], stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two relations, the same command goes on, and a revert takes back as much as there is."""
    olap = tier("olap", "expand")
    auditing: Any = olap.trail.stages._do
    really, calls = auditing._locked, []

    def killed(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return really(*given)

    monkeypatch.setattr(auditing, "_locked", killed)
    with pytest.raises(KeyboardInterrupt):
        olap.trail.stage("swap")
    assert (len(auditing._armed()), olap.trail.stages.stage()) == (2, "compared")
    olap.trail.stage(stage)
    assert (len(auditing._armed()), olap.trail.stages.stage()) == ((7, "swapped") if stage == "swap" else (0, "copied"))
    if stage == "revert":
        functions = "SELECT count(*) AS n FROM pg_proc WHERE pronamespace = 'audit'::regnamespace AND proname LIKE 'record%'"
        assert olap.root.execute(functions).fetchone() == {"n": 0}
        olap.each("expand", "swap")
    event = "INSERT INTO admin_system_events (event_type, severity, message, tenant_id) VALUES ('e', 's', 'm', 'no uuid')"
    olap.app.execute(event)
    assert (olap.last()["resource_type"], olap.last()["tenant_id"]) == ("admin_system_events", None)


def test_nobody_edits_the_log(server: Server, tier: Callable[[str], Tier]) -> None:
    """No role may; triggers refuse the owner, and sessions that pass ordinary triggers by; the auditor reads, and only that."""
    queue = tier("queue")
    queue.app.execute(INSERT, ("email-sending", Jsonb({"tenant_id": TENANT})))
    statements = ("UPDATE {} SET action = 'x'", "DELETE FROM {}", "TRUNCATE {}")
    tree = "SELECT relid::regclass::text AS r FROM pg_partition_tree('audit_log_enhanced')"
    relations = [row["r"] for row in queue.root.execute(tree)]
    assert len(relations) == 6, "this month, three ahead, the net, and the whole"
    queue.root.execute("SET session_replication_role = replica")
    auditor = psycopg.connect(server.conninfo(queue.name, "penguin_auditor"), autocommit=True)
    with closing(auditor):
        for relation in relations:
            for statement in statements:
                for connection in (queue.app, auditor, queue.connection, queue.root):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(statement.format(relation).encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            queue.app.execute("INSERT INTO audit_log_enhanced (action, resource_type, resource_id) VALUES ('a', 'b', 'c')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            queue.app.execute("SELECT * FROM audit_log_enhanced")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            auditor.execute("SELECT * FROM jobs")
        assert auditor.execute("SELECT count(*) FROM audit_log_enhanced").fetchone() == (1,)
        assert auditor.execute("SELECT count(*) FROM rollout.events").fetchone() is not None
    queue.root.execute("GRANT UPDATE ON audit_log_enhanced TO penguin_app")
    queue.trail.stage("revert")  # which is never refused
    with pytest.raises(psycopg.errors.RaiseException, match="UPDATE of penguin_app"):
        queue.trail.stages._do.verify("swap")


def test_an_open_transaction_is_never_missed(server: Server, tier: Callable[[str], Tier]) -> None:
    """What a transaction commits late, after younger ones were sealed, is sealed in its place: nothing at or behind its own
    number is sealed while it is open, prepared rows and rolled back subtransactions included."""
    queue = tier("queue")
    with psycopg.connect(server.conninfo(queue.name, "penguin_app")) as late:
        late.execute(INSERT, ("email-sending", Jsonb({"late": 1})))
        for n in range(3):
            queue.app.execute(INSERT, ("email-sending", Jsonb({"n": n})))
        sealed = sealing.seal(queue.connection)
        assert (sealed.rows, sealed.unsealed.rows) == (0, 3), "three younger ones are visible, and none is sealed"
        with late.transaction(force_rollback=True):
            late.execute(INSERT, ("email-sending", Jsonb({"undone": 1})))
        with late.transaction():
            late.execute(INSERT, ("email-sending", Jsonb({"late": 2})))
        late.commit()
        sealed = sealing.seal(queue.connection)
    assert (sealed.rows, sealed.blocks, sealed.unsealed.rows) == (5, 1, 0)
    assert sealed.last is not None
    ids = [row["id"] for row in queue.rows()]
    order = [leaf.id for leaf in sealed.last.each()]
    assert sorted(order) == sorted(ids) and order[0] == min(ids), "the late one comes first, as its number says"
    queue.app.execute(INSERT, ("email-sending", Jsonb({})))
    verdict = verification.verify(queue.connection, [])
    assert (verdict.verdict, verdict.rows, verdict.unsealed.rows) == ("pass", 5, 1)


SIX = "INSERT INTO jobs (queue_name, payload) SELECT 'email-sending', to_jsonb(m) FROM generate_series(1, 6) AS m"
L = "public.audit_log_enhanced"
EXCHANGE = (f"UPDATE {L} AS a SET new_values = b.new_values, resource_id = b.resource_id FROM {L} AS b"
            " WHERE (a.id, b.id) IN ((@5, @9), (@9, @5))")  # fmt: skip
INSERTED = (f"INSERT INTO {L} (action, resource_type, resource_id, created_at, xact)"
            f" SELECT 'x', 'jobs', 'x', created_at, xact FROM {L} WHERE id = @5")  # fmt: skip
RESEALED = f"UPDATE {L} SET action = 'x' WHERE id = @13; DELETE FROM audit.blocks WHERE number >= 5; SEAL"
SHORTENED = f"DELETE FROM {L} WHERE id = @17; DELETE FROM audit.blocks WHERE number = 6; SEAL"
LEAVES = "UPDATE audit.blocks AS a SET leaves = b.leaves FROM audit.blocks AS b WHERE (a.number, b.number) = (3, 5)"
# What a superuser does with the triggers off: (statements, what is found, in which block, which row). @n is the n-th row's id;
# rows 0 to 3 are in block 1, 4 and 5 in 2, 6 to 9 in 3, and so on; of blocks 2, 4 and 6 the heads are stored.
CASES: dict[str, tuple[str, str, int, int | None]] = {
    "edited": (f"UPDATE {L} SET new_values = '{{}}' WHERE id = @5", "edited", 2, 5),
    "another user": (f"UPDATE {L} SET user_id = gen_random_uuid() WHERE id = @0", "edited", 1, 0),
    "removed": (f"DELETE FROM {L} WHERE id IN (@5, @7)", "removed", 2, 5),
    "contents exchanged": (EXCHANGE, "edited", 2, 5),
    "moved": (f"UPDATE {L} SET xact = (SELECT xact FROM {L} WHERE id = @12) WHERE id = @4", "removed", 2, 4),
    "inserted": (INSERTED, "inserted", 2, 18),
    "tail removed": (f"DELETE FROM {L} WHERE id >= @16", "removed", 6, 16),
    "tail cut off": (f"DELETE FROM {L} WHERE id >= @12; DELETE FROM audit.blocks WHERE number >= 5", "removed", 5, None),
    "edited and sealed anew": (RESEALED, "resealed", 6, 12),
    "cut off and sealed anew": (SHORTENED, "resealed", 6, 12),
    "partition truncated": ("TRUNCATE MONTH", "removed", 1, 0),
    "partition detached": (f"ALTER TABLE {L} DETACH PARTITION MONTH", "removed", 1, 0),
    "block edited": ("UPDATE audit.blocks SET sealed_at = now() WHERE number = 3", "edited", 3, 6),
    "block removed": ("DELETE FROM audit.blocks WHERE number = 3", "removed", 3, None),
    "block replaced": (LEAVES, "edited", 3, 12),
    "another log": ("UPDATE audit.chain SET log = gen_random_uuid()", "replaced", 0, None),
    "log dropped": (f"DROP TABLE {L} CASCADE; DROP SCHEMA audit CASCADE", "removed", 1, None),
}


def test_every_tampering_is_found(tier: Callable[[str], Tier], monkeypatch: pytest.MonkeyPatch) -> None:
    """Done by a superuser with the triggers off, and named by the first wrong row; each is undone for the next one."""
    monkeypatch.setattr(sealing, "BLOCK_ROWS_MAX", 4)
    monkeypatch.setattr(verification, "STRETCH", 2)
    queue, store = tier("queue"), as_store(MemoryStore())
    for n in range(3):
        queue.app.execute(SIX)
        found = evidence.seal(queue.connection, store, HOST, verified=True)
        assert found is not None and found.verdict is not None and found.verdict.verdict == "pass"
        assert (found.to_dict()["block"], found.verdict.heads) == (2 * n + 2, n + 1)
    ids = [row["id"] for row in queue.rows()] + [None]
    month = queue.rows()[0:1] and queue.root.execute(f"SELECT tableoid::regclass::text AS t FROM {L} LIMIT 1".encode()).fetchone()
    assert month is not None
    off = queue.root.execute("SELECT tgrelid::regclass::text AS r FROM pg_trigger WHERE tgname = 'append_only'").fetchall()
    for name, (statements, kind, block, row) in CASES.items():
        with queue.root.transaction(force_rollback=True):
            for of in off:
                queue.root.execute(f"ALTER TABLE {of['r']} DISABLE TRIGGER append_only".encode())
            for statement in re.sub(r"@(\d+)", lambda m: str(ids[int(m[1])]), statements).replace("MONTH", month["t"]).split(";"):
                if statement.strip() == "SEAL":
                    sealing.seal(queue.root)
                else:
                    queue.root.execute(statement.encode())
            verdict = evidence.verify(queue.root, store, HOST)
        assert verdict is not None and verdict.wrong is not None, name
        wrong = verdict.wrong
        wanted = wrong.row if name == "inserted" else None if row is None else ids[row]
        assert (wrong.kind, wrong.block, wrong.row) == (kind, block, wanted), f"{name}: {wrong}"
        assert json.dumps(verdict.to_dict()) and wrong.row not in ids[:18] if name == "inserted" else True
    verdict = evidence.verify(queue.connection, store, HOST)
    assert verdict is not None and (verdict.verdict, verdict.rows, verdict.blocks) == ("pass", 18, 6)


def test_a_restored_log_is_continued(tier: Callable[[str], Tier]) -> None:
    """In a cluster that counts its transactions anew new rows are placed behind the sealed ones; the chain goes on."""
    queue = tier("queue")
    queue.app.execute(INSERT, ("email-sending", Jsonb({})))
    sealing.seal(queue.connection)
    with queue.root.transaction():  # as if what is sealed came from a cluster that was far ahead
        queue.root.execute("ALTER TABLE audit.blocks DISABLE TRIGGER append_only")
        queue.root.execute("UPDATE audit.blocks SET until_xact = until_xact + 1000000")
        queue.root.execute("ALTER TABLE audit.blocks ENABLE ALWAYS TRIGGER append_only")
        block = log.last_block(queue.root)
        assert block is not None
        queue.root.execute("ALTER TABLE audit.blocks DISABLE TRIGGER append_only")
        queue.root.execute("UPDATE audit.blocks SET hash = %s", (block.recomputed(),))
        queue.root.execute("ALTER TABLE audit.blocks ENABLE ALWAYS TRIGGER append_only")
    assert partitions.make(queue.connection) == []
    queue.app.execute(INSERT, ("email-sending", Jsonb({})))
    assert sealing.seal(queue.connection).rows == 1
    verdict = verification.verify(queue.connection, [])
    assert (verdict.verdict, verdict.rows) == ("pass", 2)


def test_partitions_are_made_ahead(tier: Callable[[str], Tier]) -> None:
    """Writers of the product do not wait for a new partition; a month that the net has caught rows of stays in the net."""
    queue = tier("queue")
    with queue.app.transaction():
        queue.app.execute(INSERT, ("email-sending", Jsonb({})))
        assert len(partitions.make(queue.connection, 5)) == 2, "an open writer is not in the way"
    queue.connection.execute(
        f"INSERT INTO {L} (action, resource_type, resource_id, created_at)"
        " VALUES ('a', 'b', 'c', date_trunc('month', now(), 'UTC') + interval '6 months 1 day')".encode()
    )
    assert partitions.netted(queue.connection) == 1
    assert len(partitions.make(queue.connection, 7)) == 1
    assert queue.rows()[-1]["action"] == "a"
    with psycopg.connect(queue.root.info.dsn) as reader:
        reader.execute(f"SELECT count(*) FROM {L}".encode())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(partitions, "LOCK_MS", 50)
            with pytest.raises(Refused, match="in the way"):
                partitions.make(queue.connection, 9)


def test_discard_keeps_evidence(tier: Callable[..., Tier]) -> None:
    """An empty log goes with its change; one that holds a row stays, and the next expand continues it."""
    queue = tier("queue", "expand")
    queue.trail.stage("discard")
    assert not log.there(queue.connection)
    queue.each("expand", "swap")
    queue.app.execute(INSERT, ("email-sending", Jsonb({})))
    queue.each("revert")
    queue.trail.stage("discard")
    assert len(queue.rows()) == 1
    queue.each("expand", "swap")
    queue.app.execute(INSERT, ("email-sending", Jsonb({})))
    assert sealing.seal(queue.connection).rows == 2
