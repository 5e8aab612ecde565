"""Row security on every relation of four tiers: who sees and writes whose rows, by every command and through functions."""

from __future__ import annotations

import pytest
from psycopg import errors
from secured import Place
from walking import APP, DENIED, acting, multi_tenant, refused, rows, tenants, walk

from rollout.environment import TIERS


@pytest.mark.parametrize("tier", TIERS)
def test_a_tenant_has_its_own_rows_alone(secured: Place, tier: str) -> None:
    """Every relation, partition, version and view, by every command, for two tenants, none, and an empty one."""
    assert secured.failing(tier) == {}
    assert walk(secured, tier) == {"oltp": 21, "content": 17, "queue": 11, "olap": 18}[tier]


def test_what_the_other_roles_see(secured: Place) -> None:
    """The worker has all jobs and nothing else, the analyst all figures and writes none, the auditor nothing; a backup sees
    all and writes nothing; nobody is a superuser."""
    with secured.root("queue") as root:
        for name in ("public.jobs", "v2.jobs", "public.job_logs", "public.analytics_jobs"):
            every = rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t")
            for tenant in (None, tenants(secured)[0]):
                with acting(root, "penguin_worker", tenant):
                    assert rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t") == every
    for tier in ("oltp", "content", "olap"):
        with secured.root(tier) as root:
            for relation in multi_tenant(secured, tier):
                with acting(root, "penguin_worker", None):
                    refused(root, f"SELECT FROM {relation.relation}")
    with secured.root("olap") as root:
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
        with secured.root(tier) as root:
            for relation in multi_tenant(secured, tier):
                with acting(root, "penguin_auditor", None):
                    refused(root, f"SELECT FROM {relation.relation}")
                with acting(root, "penguin_backup", None):
                    count = root.execute(f"SELECT count(*) FROM {relation.relation}".encode()).fetchone()
                    refused(root, f"DELETE FROM {relation.relation}", (DENIED, errors.ObjectNotInPrerequisiteState))
                if relation.is_table:
                    assert count == root.execute(f"SELECT count(*) FROM {relation.relation}".encode()).fetchone()


def test_what_writes_past_a_name_and_through_a_function(secured: Place) -> None:
    """A key that is taken by another tenant is neither shown nor overwritten; the look-up answers for the tenant named."""
    first, second, _ = tenants(secured)
    with secured.root("content") as root:
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
    with secured.root("oltp") as root:
        campaign = rows(root, f"SELECT id FROM campaigns WHERE tenant_id = '{second}' LIMIT 1")[0]
        ask = f"SELECT count(*) FROM rollout.existing_references('{{campaign}}', '{{{campaign}}}', '{{%s}}')"
        with acting(root, APP, first):
            assert (rows(root, ask % first), rows(root, ask % second)) == (["0"], ["1"])
