"""Breaking the thing makes its item fail: on four real databases with row security and the audit trail switched on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from memorystore import MemoryStore, as_store
from road_fakes import begin
from secured import Place
from servers import Server, superuser
from traffic_fakes import environment

from rollout.audit import evidence
from rollout.checklist import declared, judging, measuring
from rollout.checklist.probe import Asked
from rollout.engine import ledger
from rollout.environment import TIERS, Environment
from rollout.errors import BadInput
from rollout.order import PHASES, PhaseState, RunState
from rollout.references import mending, scan


class Checked:
    """The databases, a store, and what the items say of them."""

    def __init__(self, place: Place, env: Environment) -> None:
        self.place, self.env, self.store = place, env, as_store(MemoryStore())

    def item(self, name: str, *, loopback: bool = False) -> dict[str, Any]:
        """Return an item as the checklist shows it now; `loopback`: as in an environment where that is a network."""
        found = declared.load()
        item = found.find(name)
        if loopback:
            item = item.model_copy(update={"with_": {"loopback_is_a_network": True}})
        state = RunState(
            run="2026-01-31T0400Z-1a2b", environment="sandbox", plan_digest="", created=datetime.now(UTC), operator="test",
            phases={phase: PhaseState() for phase in PHASES}, facts={"references": self.references()},
        )  # fmt: skip
        asked = Asked(self.env, self.store, state, found, time.time() - 60, time.time() + 1)
        return judging.judge(item, measuring.each(asked, [item], ("run", "state", "window"))[name], None)

    def references(self) -> dict[str, Any]:
        """Return the fact that the step of phase 3 leaves."""
        return scan.fact(scan.scan(self.env))

    @contextmanager
    def broken(self, tier: str, damage: str, mend: str) -> Iterator[None]:
        """Do something as a superuser, and undo it."""
        with superuser(self.place.server.port, self.place.databases[tier].dbname) as connection:
            connection.execute(damage.encode())
            yield
            connection.execute(mend.encode())


@pytest.fixture(scope="module")
def checked(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """Every tier swapped as far as the audit trail, and sealed."""
    place = Place.seeded(server)
    home: Path = tmp_path_factory.mktemp("checked")
    env = environment(home).model_copy(update={"databases": list(place.databases.values())})
    for tier in TIERS:
        place.forward(tier, until="006_audit_trail")
    found = Checked(place, env)
    with superuser(server.port, place.databases["queue"].dbname) as connection:
        connection.execute("UPDATE v2.jobs SET priority = priority + 1 WHERE id IN (SELECT id FROM v2.jobs LIMIT 5)")
    for database in place.databases.values():
        with ledger.connect(database) as connection:
            evidence.seal(connection, found.store, database.host)
    return found


def test_a_policy_that_is_dropped(checked: Checked) -> None:
    """Row security on every relation passes; without one policy it fails and names the relation."""
    assert checked.item("rls_coverage")["verdict"] == "pass"
    with superuser(checked.place.server.port, checked.place.databases["oltp"].dbname) as connection:
        row = connection.execute("SELECT policyname FROM pg_policies WHERE tablename = 'campaigns' LIMIT 1").fetchone()
        assert row
        connection.execute(f'ALTER POLICY "{row[0]}" ON campaigns RENAME TO another'.encode())
        shown = checked.item("rls_coverage")
        assert shown["verdict"] == "fail" and "campaigns" in shown["observed"]
        connection.execute(f'ALTER POLICY another ON campaigns RENAME TO "{row[0]}"'.encode())
    assert checked.item("rls_coverage")["verdict"] == "pass"


def test_an_audit_row_that_is_edited(checked: Checked) -> None:
    """The trails pass as sealed; one value changed behind the triggers fails the item."""
    assert checked.item("audit_trail")["verdict"] == "pass", checked.item("audit_trail")
    off = "SET session_replication_role = replica; ALTER TABLE audit_log_enhanced DISABLE TRIGGER ALL;"
    edit = "UPDATE audit_log_enhanced SET action = %s WHERE id = (SELECT min(id) FROM audit_log_enhanced)"
    with superuser(checked.place.server.port, checked.place.databases["queue"].dbname) as connection:
        row = connection.execute("SELECT action FROM audit_log_enhanced ORDER BY id LIMIT 1").fetchone()
        assert row
        leaves = connection.execute(
            "SELECT relid::regclass::text FROM pg_partition_tree('audit_log_enhanced') WHERE isleaf"
        ).fetchall()
        for (leaf,) in leaves:
            connection.execute(f"ALTER TABLE {leaf} DISABLE TRIGGER ALL".encode())
        connection.execute(off.encode())
        connection.execute(edit, ["edited"])
        shown = checked.item("audit_trail")
        assert shown["verdict"] == "fail", shown
        assert checked.place.databases["queue"].host in shown["observed"]
        connection.execute(edit, [row[0]])
    assert checked.item("audit_trail")["verdict"] == "pass"


def test_tls_that_is_off(checked: Checked) -> None:
    """Loopback crosses no network; where it counts as one, sessions without TLS fail the item and are named."""
    with superuser(checked.place.server.port, checked.place.databases["queue"].dbname):
        assert checked.item("encryption")["verdict"] == "not measured"
        shown = checked.item("encryption", loopback=True)
        assert shown["verdict"] == "fail" and "postgres on" in shown["observed"]


def test_a_role_that_may_too_much(checked: Checked) -> None:
    """An application that is made superuser is found."""
    assert checked.item("access_controls")["verdict"] == "pass", checked.item("access_controls")
    with checked.broken("oltp", "ALTER ROLE penguin_app BYPASSRLS", "ALTER ROLE penguin_app NOBYPASSRLS"):
        assert checked.item("access_controls")["verdict"] == "fail"
        assert checked.item("rls_coverage")["verdict"] == "fail"


def test_a_row_that_is_corrupted_across_databases(checked: Checked) -> None:
    """One message whose campaign is nobody's is one reference more that is wrong."""
    before = checked.item("cross_database")
    orphan = "UPDATE v2.email_messages SET campaign_id = {} WHERE storage_key = (SELECT min(storage_key) FROM v2.email_messages)"
    with superuser(checked.place.server.port, checked.place.databases["content"].dbname) as connection:
        row = connection.execute("SELECT campaign_id FROM v2.email_messages ORDER BY storage_key LIMIT 1").fetchone()
    was = f"'{row[0]}'" if row and row[0] else "NULL"
    with checked.broken("content", orphan.format("gen_random_uuid()"), orphan.format(was)):
        after = checked.item("cross_database")
    assert after["verdict"] == "fail" and after["value"] >= before["value"] + 1


def test_references_that_are_mended(checked: Checked) -> None:
    """Emptied where possible, kept by a person's word where not; no row is lost, and each that is changed is kept as it was."""
    with pytest.raises(BadInput, match="who says so"):
        mending.mend(checked.env, as_store(MemoryStore()), " ", "why")
    content, queue = (checked.place.root(tier) for tier in ("content", "queue"))
    with content, queue:
        rows = "SELECT (SELECT count(*) FROM v2.email_messages), (SELECT count(*) FROM transactional_emails)"
        before = content.execute(rows).fetchall()
        orphans = "SELECT id::uuid FROM rollout.reference_findings WHERE kind = 'orphan' AND column_name = 'campaign_id'"
        assert checked.item("cross_database")["verdict"] == "fail"
        was = content.execute(
            f"SELECT storage_key, campaign_id::text FROM v2.email_messages WHERE campaign_id IN ({orphans})".encode()
        ).fetchall()
        memory = MemoryStore()
        begin(memory, "1").release()
        told = mending.look(checked.env)
        done, after = mending.mend(checked.env, as_store(memory), "Ada", "as found")
        assert done == told and after["wrong_rows"] == 0 < after["kept_rows"] and after["kept_by"] == ["Ada: as found"]
        by = {one.reference: (one.emptied, one.kept) for one in done}
        assert by["email_messages.campaign_id -> oltp.campaigns(id)"][0] >= len(was) > 0
        assert by["jobs.payload->>'tenant_id' -> oltp.tenants(id)"] == (0, 2)
        shown = checked.item("cross_database")
        assert shown["verdict"] == "attested" and "by the word of Ada: as found" in shown["observed"]

        assert content.execute(rows).fetchall() == before
        keys = [key for key, _ in was]
        left = "SELECT count(*) FROM v2.email_messages WHERE storage_key = ANY (%s) AND campaign_id IS NULL"
        assert content.execute(left, (keys,)).fetchall() == [(len(keys),)]
        kept = (
            "SELECT row ->> 'storage_key', row ->> 'campaign_id' FROM rollout.mended"
            " WHERE name = 'email_messages.campaign_id -> oltp.campaigns(id) (orphan)'"
        )
        assert sorted(content.execute(kept).fetchall()) == sorted(was)
        agent = "SELECT count(*) >= %s FROM audit_log_enhanced WHERE user_agent = 'invoke references.mend by Ada'"
        assert content.execute(agent, (len(keys),)).fetchall() == [(True,)]

        content.execute("UPDATE rollout.fence SET token = 1")  # the other tests act under an older token
        queue.execute("UPDATE rollout.fence SET token = 1")
        with checked.place.stages("content", "002_content_consolidation") as stages:
            assert stages.compare()["differing"] == []
        more = "INSERT INTO v2.jobs (queue_name, payload) VALUES ('email-sending', jsonb_build_object('tenant_id', 'not-a-uuid'))"
        queue.execute(more.encode())
        shown = checked.item("cross_database")
        assert (shown["verdict"], shown["value"]) == ("fail", 1)
        queue.execute("DELETE FROM v2.jobs WHERE payload = jsonb_build_object('tenant_id', 'not-a-uuid')")
    assert mending.look(checked.env) == []


LOG = "public.audit_log_enhanced"
OPENED = [
    (LOG, f"ALTER TABLE {LOG} DISABLE ROW LEVEL SECURITY", "not enabled", f"ALTER TABLE {LOG} ENABLE ROW LEVEL SECURITY"),
    (LOG, f"ALTER TABLE {LOG} NO FORCE ROW LEVEL SECURITY", "not forced", f"ALTER TABLE {LOG} FORCE ROW LEVEL SECURITY"),
    (LOG, f"CREATE POLICY open ON {LOG} FOR SELECT USING (true)", "policy open lets public SELECT", f"DROP POLICY open ON {LOG}"),
    (LOG, f"CREATE POLICY own ON {LOG} TO penguin_app USING (false)", "own lets penguin_app ALL", f"DROP POLICY own ON {LOG}"),
    (LOG, f"GRANT SELECT ON {LOG} TO PUBLIC", "penguin_app may SELECT", f"REVOKE SELECT ON {LOG} FROM PUBLIC"),
    (LOG, f"GRANT SELECT (action) ON {LOG} TO penguin_worker", "penguin_worker may SELECT",
     f"REVOKE SELECT (action) ON {LOG} FROM penguin_worker"),
    (LOG, f"GRANT INSERT ON {LOG} TO penguin_auditor", "penguin_auditor may INSERT",
     f"REVOKE INSERT ON {LOG} FROM penguin_auditor"),
    (LOG, "GRANT penguin_auditor TO penguin_app", "penguin_app may SELECT", "REVOKE penguin_auditor FROM penguin_app"),
    (LOG, f"ALTER TABLE {LOG} OWNER TO penguin_app", "penguin_app owns it", f"ALTER TABLE {LOG} OWNER TO penguin_rollout"),
    ("audit.log_default", "ALTER TABLE audit.log_default DISABLE ROW LEVEL SECURITY", "not enabled",
     "ALTER TABLE audit.log_default ENABLE ROW LEVEL SECURITY"),
    ("audit.log_default", "GRANT SELECT ON audit.log_default TO penguin_auditor, penguin_app", "penguin_app may SELECT",
     "REVOKE SELECT ON audit.log_default FROM penguin_auditor, penguin_app"),
    ("audit.log_2020_01", f"CREATE TABLE audit.log_2020_01 (LIKE {LOG})", "not enabled", "DROP TABLE audit.log_2020_01"),
    ("public.query_performance_log", "CREATE POLICY open ON query_performance_log USING (true)", "policy open lets public ALL",
     "DROP POLICY open ON query_performance_log"),
    ("public.query_performance_log", "GRANT pg_monitor TO penguin_analyst", "penguin_analyst may SELECT",
     "REVOKE pg_monitor FROM penguin_analyst"),
    ("rollout.mended", "GRANT SELECT (row) ON rollout.mended TO penguin_auditor", "penguin_auditor may read it",
     "REVOKE SELECT (row) ON rollout.mended FROM penguin_auditor"),
    ("public.job_queues", "ALTER TABLE job_queues ADD COLUMN tenant_id uuid", "it has a tenant_id, and 005_row_security says",
     "ALTER TABLE job_queues DROP COLUMN tenant_id"),
]  # fmt: skip


@pytest.mark.parametrize(("relation", "damage", "told", "mend"), OPENED, ids=[damage[:60] for _, damage, _, _ in OPENED])
def test_what_no_tenant_sees_is_opened(checked: Checked, relation: str, damage: str, told: str, mend: str) -> None:
    """The trail and its partitions, the log of statements: pass while closed to the product; each thing taken away is a fail."""
    with checked.place.stages("queue", "007_monitoring") as stages:
        stages.expand()
    before = checked.place.report("queue")
    closed = ("audit.log_", LOG, "public.query_performance_log")
    held = [line for name, line in before.items() if name.startswith(closed)]
    assert len(held) >= 6 and {line.verdict for line in held} == {"pass"}, held
    with checked.broken("queue", damage, mend):
        after = checked.place.report("queue")[relation]
        assert after.verdict == "fail" and told in after.why
        assert checked.item("rls_coverage")["verdict"] == "fail"
    assert checked.place.report("queue") == before


@pytest.mark.parametrize("tier", ["oltp", "content"])
def test_tables_that_a_later_change_has_moved(checked: Checked, tier: str) -> None:
    """Exchanged by 008 for views, the tables are in another schema with the policies that they were given: still all pass."""
    before = checked.place.report(tier)
    with checked.place.stages(tier, "008_timestamps") as stages:
        stages.expand()
        stages.swap()
    moved = checked.place.report(tier)
    assert {name: line.why for name, line in moved.items() if line.verdict == "fail"} == {}
    assert sum(name.startswith("v2.") for name in moved) > 10
    with checked.place.stages(tier) as stages:
        assert not stages.swap().changed
    name = "v2.campaigns" if tier == "oltp" else "v2.notifications"
    with checked.broken(tier, f"ALTER POLICY row_security_penguin_app ON {name} USING (true)", "SELECT"):
        assert "using is true, not" in checked.place.report(tier)[name].why
        with checked.place.stages(tier) as stages:
            assert stages.swap().changed
    with checked.place.stages(tier, "008_timestamps") as stages:
        stages.revert()
    assert {name: line.verdict for name, line in checked.place.report(tier).items()} == {
        name: line.verdict for name, line in before.items()
    }
