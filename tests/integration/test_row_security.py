"""Row security on every relation of four tiers: who sees and writes whose rows, there, back, home, and when it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from secured import CHANGE, SHARED, Place, whose
from servers import Server

from rollout.engine import changes, ledger
from rollout.engine.securing import Securing
from rollout.engine.security import catalogue
from rollout.engine.security.catalogue import Relation
from rollout.environment import TIERS
from rollout.errors import Refused

APP, SETTING = "penguin_app", "app.current_tenant_id"
DENIED = errors.InsufficientPrivilege
Root = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """One server, a database a tier, everything swapped and row security on."""
    server = Server()
    try:
        made = Place.seeded(server)
        for tier in TIERS:
            made.forward(tier)
        yield made
    finally:
        server.stop()


def tenants(place: Place) -> list[str]:
    """Return the ids of three tenants."""
    with place.root("oltp") as root:
        return [str(row[0]) for row in root.execute("SELECT id FROM tenants ORDER BY created, id LIMIT 3")]


@contextmanager
def acting(root: Root, role: str, tenant: str | None) -> Iterator[None]:
    """Act as a role for a tenant (None: none is set) in a transaction that is rolled back; triggers of old clients rest."""
    with root.transaction(force_rollback=True):
        # Foreign keys rest, so that what is counted is what policies let through and nothing else.
        root.execute("SET LOCAL session_replication_role = replica")
        root.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        if tenant is not None:
            root.execute("SELECT set_config(%s, %s, true)", (SETTING, tenant))
        yield


@contextmanager
def opened(root: Root, relations: list[Relation]) -> Iterator[None]:
    """Give the application every privilege on every relation, in a transaction that is rolled back: policies alone protect."""
    with root.transaction(force_rollback=True):
        for schema in dict.fromkeys(r.schema_ for r in relations):
            root.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO penguin_app, penguin_worker, penguin_analyst").format(
                sql.Identifier(schema)))  # fmt: skip
        for relation in relations:
            if relation.kind != "m":
                root.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {relation.relation}"
                    " TO penguin_app, penguin_worker, penguin_analyst".encode()
                )
        yield


def rows(root: Root, query: str) -> list[str]:
    """Return the first column of a query, sorted."""
    return sorted(str(row[0]) for row in root.execute(query.encode()))


def refused(root: Root, statement: str, error: type[psycopg.Error] | tuple[type[psycopg.Error], ...] = DENIED) -> None:
    """Run a statement that has to be refused."""
    with pytest.raises(error), root.transaction():
        root.execute(statement.encode())


def multi_tenant(place: Place, tier: str) -> list[Relation]:
    """Return every relation of a tier that holds or shows rows of tenants, materialised views aside."""
    every = place.relations(tier).values()
    return [r for r in every if r.name not in SHARED and r.kind != "m" and not r.extension]


def walk(place: Place, tier: str) -> int:
    """Walk every relation, tenant and command as the application; return how many relations were walked."""
    first, second, _ = tenants(place)
    relations = multi_tenant(place, tier)
    with place.root(tier) as root, opened(root, relations):
        for relation in relations:
            name, mine = relation.relation, whose(relation)
            own = {
                t: rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t WHERE {mine} = '{t}'")
                for t in (first, second)
            }
            seen = f"SELECT to_jsonb(t)::text FROM {name} AS t"
            for tenant in (first, second, None, ""):
                expected = own.get(tenant or "", [])
                with acting(root, APP, tenant):
                    assert rows(root, seen) == expected, (name, tenant)
                    _reads(root, relation, expected)
                    if relation.schema_ != "v1":  # the old side is written by its sync alone
                        _writes(root, relation, expected, own, tenant)
            _prepared(root, relation, own)
    return len(relations)


def _reads(root: Root, relation: Relation, expected: list[str]) -> None:
    name = relation.relation
    # A condition that says what it sees must not be asked of others' rows: it divides by zero only there.
    count = root.execute(f"SELECT count(*) FROM {name} AS t WHERE length(to_jsonb(t)::text) > 0".encode()).fetchone()
    assert count == (len(expected),)
    with root.cursor().copy(f"COPY (SELECT 1 FROM {name}) TO STDOUT".encode()) as copied:
        assert b"".join(copied).count(b"\n") == len(expected), name
    if relation.kind == "r":  # of a partitioned one Postgres copies, under row security, the rows of no partition
        with root.cursor().copy(f"COPY {name} TO STDOUT".encode()) as copied:
            assert b"".join(copied).count(b"\n") == len(expected), name
        refused(root, f"COPY {name} FROM STDIN", errors.FeatureNotSupported)


def _writes(root: Root, relation: Relation, expected: list[str], own: dict[str, list[str]], tenant: str | None) -> None:
    name = relation.relation
    if relation.name == "campaign_performance_mv":
        refused(root, f"DELETE FROM {name}", errors.ObjectNotInPrerequisiteState)
        return
    column = next(
        c for c in relation.column_order if c in ("updated", "updated_at", "created", "created_at", "copied_at")
    )
    with root.transaction(force_rollback=True):
        touched = rows(root, f"UPDATE {name} AS t SET {column} = {column} RETURNING 1")
        assert len(touched) == len(expected), (name, "update")
    with root.transaction(force_rollback=True):
        assert len(rows(root, f"DELETE FROM {name} RETURNING 1")) == len(expected), (name, "delete")
    for other, theirs in own.items():
        if other == tenant or not theirs:
            continue
        record = sql.Literal(theirs[0]).as_string()
        statement = (
            f"INSERT INTO {name} ({', '.join(relation.column_order)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(relation.column_order)} FROM jsonb_populate_record(NULL::{name}, {record}::jsonb)"
        )
        if relation.name == "users" and tenant:
            refused(root, statement, errors.UniqueViolation)  # a new user may be written by whoever acts for a tenant
            continue
        refused(root, statement)
        refused(root, statement + " RETURNING 1")
        # What is taken already is left alone, or not to be written: never overwritten, and never shown.
        if relation.is_table:
            refused(root, f"{statement} ON CONFLICT DO NOTHING")
        if "tenant_id" in relation.columns and expected and relation.is_table:
            refused(root, f"UPDATE {name} SET tenant_id = '{other}'", (DENIED, errors.CheckViolation))


def _prepared(root: Root, relation: Relation, own: dict[str, list[str]]) -> None:
    """A statement that one tenant's transaction has prepared shows the next one its own rows."""
    root.execute(f"PREPARE walked AS SELECT to_jsonb(t)::text FROM {relation.relation} AS t".encode())
    for _ in range(2):
        for tenant, expected in own.items():
            with acting(root, APP, tenant):
                assert rows(root, "EXECUTE walked") == expected
        with acting(root, APP, None):
            assert rows(root, "EXECUTE walked") == []
    root.execute("DEALLOCATE walked")


@pytest.mark.parametrize("tier", TIERS)
def test_a_tenant_has_its_own_rows_alone(place: Place, tier: str) -> None:
    """Every relation, partition, version and view, by every command, for two tenants, none, and an empty one."""
    assert place.failing(tier) == {}
    assert walk(place, tier) == {"oltp": 21, "content": 17, "queue": 11, "olap": 18}[tier]


def test_what_the_other_roles_see(place: Place) -> None:
    """The worker has all jobs and nothing else, the analyst all figures and writes none, the auditor nothing; a backup sees
    all and writes nothing; nobody is a superuser."""
    with place.root("queue") as root:
        for name in ("public.jobs", "v2.jobs", "public.job_logs", "public.analytics_jobs"):
            every = rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t")
            for tenant in (None, tenants(place)[0]):
                with acting(root, "penguin_worker", tenant):
                    assert rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t") == every
    for tier in ("oltp", "content", "olap"):
        with place.root(tier) as root:
            for relation in multi_tenant(place, tier):
                with acting(root, "penguin_worker", None):
                    refused(root, f"SELECT FROM {relation.relation}")
    with place.root("olap") as root:
        for name in ("public.billing_analytics", "v2.campaign_performance_mv", "public.lead_analytics"):
            behind = name + "_all" if name.endswith("_mv") else name
            with acting(root, "penguin_analyst", None):
                seen = rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t")
                refused(root, f"DELETE FROM {name}", (DENIED, errors.ObjectNotInPrerequisiteState))
            assert seen == rows(root, f"SELECT to_jsonb(t)::text FROM {behind} AS t")
        for role in (APP, "penguin_analyst"):
            with acting(root, role, None):
                refused(root, "SELECT FROM v2.campaign_performance_mv_all")
    for tier in TIERS:
        with place.root(tier) as root:
            for relation in multi_tenant(place, tier):
                with acting(root, "penguin_auditor", None):
                    refused(root, f"SELECT FROM {relation.relation}")
                with acting(root, "penguin_backup", None):
                    count = root.execute(f"SELECT count(*) FROM {relation.relation}".encode()).fetchone()
                    refused(root, f"DELETE FROM {relation.relation}", (DENIED, errors.ObjectNotInPrerequisiteState))
                if relation.is_table:
                    assert count == root.execute(f"SELECT count(*) FROM {relation.relation}".encode()).fetchone()


def test_what_writes_past_a_name_and_through_a_function(place: Place) -> None:
    """A key that is taken by another tenant is neither shown nor overwritten; the look-up answers for the tenant named."""
    first, second, _ = tenants(place)
    with place.root("content") as root:
        for origin in (1, 2, 3):
            key = (
                f"SELECT storage_key FROM v2.email_messages WHERE tenant_id = '{second}' AND origin = {origin} LIMIT 1"
            )
            taken = str(rows(root, key)[0])
            twin = (
                "INSERT INTO public.{} (storage_key, tenant_id, direction, subject)"
                f" VALUES ('{taken}', '{first}', 'inbound', 'mine') {{}}"
            )
            for other in ("email_messages", "content_inbox_message_refs"):
                with acting(root, APP, first):
                    refused(root, twin.format(other, ""), (errors.UniqueViolation, DENIED))
                    refused(root, twin.format(other, "ON CONFLICT (storage_key) DO UPDATE SET subject = 'mine'"),
                            (errors.UniqueViolation, DENIED))  # fmt: skip
                    assert rows(root, f"SELECT storage_key FROM public.{other} WHERE storage_key = '{taken}'") == []
        # One's own row under the other old name is replaced, as decision 0002 has it.
        own = rows(
            root, f"SELECT storage_key FROM v2.email_messages WHERE tenant_id = '{second}' AND origin = 2 LIMIT 1"
        )[0]
        with acting(root, APP, second):
            root.execute("INSERT INTO public.email_messages (storage_key, tenant_id) VALUES (%s, %s)", (own, second))
    with place.root("oltp") as root:
        campaign = rows(root, f"SELECT id FROM campaigns WHERE tenant_id = '{second}' LIMIT 1")[0]
        ask = f"SELECT count(*) FROM rollout.existing_references('{{campaign}}', '{{{campaign}}}', '{{%s}}')"
        with acting(root, APP, first):
            assert (rows(root, ask % first), rows(root, ask % second)) == (["0"], ["1"])


def facts(place: Place, tier: str) -> dict[str, Any]:
    """Return what row security is made of, for every relation: what has to come back exactly."""
    with ledger.connect(place.databases[tier]) as connection:
        found = catalogue.read(connection)
    return {r.relation: r.model_dump(exclude={"indexed"}) for r in found if not r.extension}


def run(statements: list[str], root: Root) -> None:
    """Run statements one by one."""
    for statement in statements:
        root.execute(statement.encode())


BREAKAGES = [
    (
        "oltp",
        ["CREATE TABLE public.added (id int)"],
        "public.added",
        "neither declared nor shared",
        ["DROP TABLE public.added"],
    ),
    (
        "oltp",
        ["DROP POLICY row_security_penguin_app ON leads"],
        "public.leads",
        "policy row_security_penguin_app is missing",
        [],
    ),
    ("oltp", ["ALTER POLICY row_security_penguin_app ON leads USING (true)"], "public.leads", "using is true, not", []),
    (
        "oltp",
        ["ALTER POLICY row_security_penguin_app ON leads WITH CHECK (true)"],
        "public.leads",
        "check is true, not",
        [],
    ),
    (
        "oltp",
        ["ALTER POLICY row_security_penguin_app ON leads TO PUBLIC"],
        "public.leads",
        "roles is ['public'], not",
        [],
    ),
    (
        "oltp",
        ["CREATE POLICY more ON leads USING (true)"],
        "public.leads",
        "policy more is additional",
        ["DROP POLICY more ON leads"],
    ),
    ("oltp", ["ALTER TABLE leads NO FORCE ROW LEVEL SECURITY"], "public.leads", "row security is not forced", []),
    ("oltp", ["ALTER TABLE leads DISABLE ROW LEVEL SECURITY"], "public.leads", "row security is not enabled", []),
    (
        "oltp",
        ["ALTER ROLE penguin_app BYPASSRLS"],
        "public.leads",
        "penguin_app has BYPASSRLS",
        ["ALTER ROLE penguin_app NOBYPASSRLS"],
    ),
    (
        "oltp",
        ["ALTER ROLE penguin_app SUPERUSER"],
        "public.leads",
        "penguin_app is a superuser",
        ["ALTER ROLE penguin_app NOSUPERUSER"],
    ),
    (
        "oltp",
        ["GRANT penguin_rollout TO penguin_app"],
        "public.leads",
        "penguin_app can become penguin_rollout",
        ["REVOKE penguin_rollout FROM penguin_app"],
    ),
    (
        "oltp",
        ["GRANT TRUNCATE ON leads TO penguin_app"],
        "public.leads",
        "penguin_app may TRUNCATE",
        ["REVOKE TRUNCATE ON leads FROM penguin_app"],
    ),
    (
        "oltp",
        [
            "CREATE ROLE stranger BYPASSRLS",
            "GRANT SELECT ON leads TO stranger",
            "GRANT USAGE ON SCHEMA public TO stranger",
        ],
        "public.leads",
        "stranger has BYPASSRLS and privileges",
        ["REVOKE ALL ON leads FROM stranger", "REVOKE ALL ON SCHEMA public FROM stranger", "DROP ROLE stranger"],
    ),
    (
        "oltp",
        ["CREATE VIEW public.every_lead AS SELECT * FROM leads"],
        "public.every_lead",
        "no security_invoker",
        ["DROP VIEW public.every_lead"],
    ),
    (
        "oltp",
        [
            "CREATE MATERIALIZED VIEW public.summed AS SELECT * FROM leads",
            "GRANT SELECT (id) ON public.summed TO penguin_app",
        ],
        "public.summed",
        "penguin_app may reach it",
        ["DROP MATERIALIZED VIEW public.summed"],
    ),
    (
        "oltp",
        [
            "CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.leads'"
        ],
        "public.peek()",
        "runs with its owner's rights",
        ["DROP FUNCTION public.peek()"],
    ),
    (
        "oltp",
        [
            "CREATE EXTENSION file_fdw",
            "CREATE SERVER here FOREIGN DATA WRAPPER file_fdw",
            "CREATE FOREIGN TABLE public.outside (a text) SERVER here OPTIONS (filename '/dev/null')",
        ],
        "public.outside",
        "neither declared nor shared",
        ["DROP EXTENSION file_fdw CASCADE"],
    ),
    (
        "queue",
        ["CREATE TABLE v2.jobs_more PARTITION OF v2.jobs FOR VALUES IN ('more')"],
        "v2.jobs_more",
        "row security is not enabled",
        ["DROP TABLE v2.jobs_more"],
    ),
    (
        "content",
        ["ALTER VIEW public.email_messages RESET (security_invoker)"],
        "public.email_messages",
        "no security_invoker",
        [],
    ),
    (
        "content",
        ["DROP TRIGGER row_security_place ON v2.email_messages"],
        "v2.email_messages",
        "may replace another tenant's row",
        [],
    ),
    (
        "olap",
        ["ALTER VIEW v2.campaign_performance_mv RESET (security_barrier)"],
        "v2.campaign_performance_mv",
        "without security_barrier",
        [],
    ),
    (
        "olap",
        [
            "CREATE OR REPLACE VIEW v2.campaign_performance_mv WITH (security_barrier) AS TABLE v2.campaign_performance_mv_all"
        ],
        "v2.campaign_performance_mv",
        "its filter is not the one that was made",
        [],
    ),
    (
        "olap",
        ["GRANT SELECT ON v2.campaign_performance_mv_all TO penguin_app"],
        "v2.campaign_performance_mv_all",
        "penguin_app may reach it",
        [],
    ),
]


@pytest.mark.parametrize(
    ("tier", "broken", "relation", "told", "mended"), BREAKAGES, ids=[b[1][0][:60] for b in BREAKAGES]
)
def test_what_is_broken_fails_and_says_why(
    place: Place, tier: str, broken: list[str], relation: str, told: str, mended: list[str]
) -> None:
    """Each way to open a hole makes its relation fail with the reason; what the next swap can mend, it does."""
    with place.root(tier) as root:
        run(broken, root)
        try:
            failing = place.failing(tier)
            assert told in failing[relation], failing
        finally:
            run(mended, root)
    with place.stages(tier) as stages:
        outcome = stages.swap()
    assert outcome.changed is not bool(mended)
    assert place.failing(tier) == {}


def test_a_partition_made_since_is_covered_by_the_next_swap(place: Place) -> None:
    """It fails until then; the swap switches it on, and nothing else."""
    with place.root("queue") as root:
        root.execute("CREATE TABLE v2.jobs_late PARTITION OF v2.jobs FOR VALUES IN ('late')")
        root.execute("ALTER TABLE v2.jobs_late OWNER TO penguin_rollout")
        assert list(place.failing("queue")) == ["v2.jobs_late"]
        with place.stages("queue") as stages:
            assert stages.swap().facts["relations"] == 1
        assert place.failing("queue") == {}
        root.execute("DROP TABLE v2.jobs_late")


@pytest.fixture(scope="module")
def other(place: Place) -> Place:
    """Four more databases on the same server, as found."""
    return Place.seeded(place.server)


def test_there_stopped_in_the_middle_and_back(other: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a few relations: a revert gives back exactly what was there; the same command goes on; a revert again."""
    on = Securing._on
    for tier in TIERS:
        other.forward(
            tier,
            until="005_row_security"
            if tier == "oltp"
            else {
                "content": "002_content_consolidation",
                "queue": "003_queue_partitioning",
                "olap": "004_olap_performance",
            }[tier],
        )
        if tier == "oltp":
            with other.stages(tier) as stages:
                stages.revert()
        before = facts(other, tier)
        for stop in (1, 4):
            with other.stages(tier) as stages, monkeypatch.context() as patched:
                stages.expand()
                left = iter(range(stop))

                def dies(self: Securing, *given: Any, left: Iterator[int] = left) -> int:
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return on(self, *given)

                patched.setattr(Securing, "_on", dies)
                with pytest.raises(KeyboardInterrupt):
                    stages.swap()
            assert facts(other, tier) != before
            with other.stages(tier) as stages:
                assert stages.revert().changed
                assert not stages.revert().changed
            assert facts(other, tier) == before
        for _ in range(2):
            with other.stages(tier) as stages:
                stages.expand()
                stages.swap()
                assert other.failing(tier) == {}
                stages.revert()
            assert facts(other, tier) == before


def test_after_a_rollback_and_after_contract(other: Place) -> None:
    """Everything back, there again, and home: at each end the walk is the same, and nothing fails."""
    for tier in TIERS:
        other.back(tier)
        other.forward(tier)
        assert other.failing(tier) == {}
        walk(other, tier)
        other.home(tier)
        assert other.failing(tier) == {}
        walk(other, tier)


def test_what_refuses(place: Place) -> None:
    """A role that lacks, a table that nobody declared, a session of a release that sets no tenant: each is named."""
    tier = "oltp"
    with place.stages(tier) as stages:
        stages.revert()
    with place.root(tier) as root:
        for broken, told, mended in (
            (
                "ALTER ROLE penguin_app BYPASSRLS",
                r"ALTER ROLE penguin_app NOBYPASSRLS;",
                "ALTER ROLE penguin_app NOBYPASSRLS",
            ),
            (
                "ALTER ROLE penguin_backup NOBYPASSRLS",
                r"ALTER ROLE penguin_backup BYPASSRLS;",
                "ALTER ROLE penguin_backup BYPASSRLS",
            ),
            (
                "ALTER ROLE penguin_analyst RENAME TO away",
                r"CREATE ROLE penguin_analyst LOGIN NOSUPERUSER NOBYPASSRLS",
                "ALTER ROLE away RENAME TO penguin_analyst",
            ),
            (
                "ALTER ROLE penguin_rollout NOBYPASSRLS",
                r"ALTER ROLE penguin_rollout BYPASSRLS;",
                "ALTER ROLE penguin_rollout BYPASSRLS",
            ),
            (
                "CREATE TABLE public.unknown (i int)",
                r"nobody said whose rows these hold: public.unknown",
                "DROP TABLE public.unknown",
            ),
            ("CREATE POLICY stray ON users USING (true)", r"stray on public.users", "DROP POLICY stray ON users"),
        ):
            root.execute(broken.encode())
            try:
                with place.stages(tier) as stages:
                    stages.expand()
                    with pytest.raises(Refused, match=told):
                        stages.swap()
                    with pytest.raises(Refused, match=told):
                        stages._do.make()
            finally:
                root.execute(mended.encode())
    conninfo = place.databases[tier].conninfo().replace("penguin_rollout", APP)
    with place.stages(tier) as stages:
        stages.expand()
        with psycopg.connect(conninfo, application_name="penguin-v0-blue") as old:
            words = rf"pid {old.info.backend_pid} \(penguin_app, penguin-v0-blue, 127\.0\.0\.1\)"
            with pytest.raises(Refused, match=words):
                stages.swap()
        with (
            psycopg.connect(conninfo, application_name="penguin-v1-blue"),
            psycopg.connect(conninfo, application_name="penguin-v2-green"),
        ):
            assert stages.swap().changed
    assert place.failing(tier) == {}


def test_a_swapped_change_holds_what_it_requires(place: Place) -> None:
    """Its own discard is refused while it is on; what it requires names it as what stands in the way of a revert."""
    with place.stages("content") as stages, pytest.raises(Refused, match="is swapped"):
        stages.discard()
    for name in ("002_content_consolidation", "003_queue_partitioning", "004_olap_performance"):
        assert CHANGE in [later.name for later in changes.dependents(changes.find(name)[0])]
