"""Row security that is broken: the report says what and why, the next swap mends what it can, and what refuses a switch-on."""

from __future__ import annotations

import psycopg
import pytest
from secured import CHANGE, Place
from walking import APP, Root

from rollout.engine import changes
from rollout.errors import Refused


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
    secured: Place, tier: str, broken: list[str], relation: str, told: str, mended: list[str]
) -> None:
    """Each way to open a hole makes its relation fail with the reason; what the next swap can mend, it does."""
    with secured.root(tier) as root:
        run(broken, root)
        try:
            failing = secured.failing(tier)
            assert told in failing[relation], failing
        finally:
            run(mended, root)
    with secured.stages(tier) as stages:
        outcome = stages.swap()
    assert outcome.changed is not bool(mended)
    assert secured.failing(tier) == {}


def test_a_partition_made_since_is_covered_by_the_next_swap(secured: Place) -> None:
    """It fails until then; the swap switches it on, and nothing else."""
    with secured.root("queue") as root:
        root.execute("CREATE TABLE v2.jobs_late PARTITION OF v2.jobs FOR VALUES IN ('late')")
        root.execute("ALTER TABLE v2.jobs_late OWNER TO penguin_rollout")
        assert list(secured.failing("queue")) == ["v2.jobs_late"]
        with secured.stages("queue") as stages:
            assert stages.swap().facts["relations"] == 1
        assert secured.failing("queue") == {}
        root.execute("DROP TABLE v2.jobs_late")


def test_what_refuses(secured: Place) -> None:
    """A role that lacks, a table that nobody declared, a session of a release that sets no tenant: each is named."""
    tier = "oltp"
    with secured.stages(tier) as stages:
        stages.revert()
    with secured.root(tier) as root:
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
                with secured.stages(tier) as stages:
                    stages.expand()
                    with pytest.raises(Refused, match=told):
                        stages.swap()
                    with pytest.raises(Refused, match=told):
                        stages._do.make()
            finally:
                root.execute(mended.encode())
    conninfo = secured.databases[tier].conninfo().replace("penguin_rollout", APP)
    with secured.stages(tier) as stages:
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
    assert secured.failing(tier) == {}


def test_a_swapped_change_holds_what_it_requires(secured: Place) -> None:
    """Its own discard is refused while it is on; what it requires names it as what stands in the way of a revert."""
    with secured.stages("content") as stages, pytest.raises(Refused, match="is swapped"):
        stages.discard()
    for name in ("002_content_consolidation", "003_queue_partitioning", "004_olap_performance"):
        assert CHANGE in [later.name for later in changes.dependents(changes.find(name)[0])]
