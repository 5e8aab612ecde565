"""Four databases with tenants' rows, brought to any stage of the rollout with row security on, and whose each row is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from servers import Server, database, superuser

from rollout import performance_view
from rollout.engine import changes, ledger
from rollout.engine.security import report, rules
from rollout.engine.security.catalogue import Relation
from rollout.engine.security.report import Line
from rollout.engine.stages import Stages
from rollout.environment import TIERS, Database, Environment, Settings
from rollout.seed.database import fill
from rollout.seed.shape import shape

SETTINGS: dict[str, Any] = {
    "stall_budget_total_ms": 20000, "stall_budget_once_ms": 500, "lock_attempts_max": 50, "chunk_target_ms": 50,
    "blocker_transaction_max_seconds": 1.0,
}  # fmt: skip
CHANGE = "005_row_security"
SCALE, SEED = 0.005, 7

# Whose a row of alias t is, said here by hand and not by what 005 declares; {x}: the schema of a tier's authority.
BY_PARENT = {
    "users": "(SELECT u.tenant_id FROM public.tenant_users AS u WHERE u.user_id = t.id)",
    "user_preferences": "(SELECT u.tenant_id FROM public.tenant_users AS u WHERE u.user_id = t.user_id)",
    "tenants": "t.id",
    "domain_ip_assignments": "(SELECT d.tenant_id FROM public.domains AS d WHERE d.id = t.domain_id)",
    "template_folders": "(SELECT d.tenant_id FROM public.templates AS d WHERE d.id = t.template_id)",
    "campaign_sequence_steps": "(SELECT d.tenant_id FROM public.campaigns AS d WHERE d.id = t.campaign_id)",
    "subscription_addons": "(SELECT d.tenant_id FROM public.subscriptions AS d WHERE d.id = t.subscription_id)",
    "payments": "(SELECT d.tenant_id FROM public.subscriptions AS d WHERE d.id = t.subscription_id)",
    "attachments": "(SELECT o.tenant_id FROM public.content_objects AS o WHERE o.storage_key = t.parent_storage_key)",
    "content_search_index": "(SELECT o.tenant_id FROM public.email_content AS o WHERE o.storage_key = t.storage_key)",
    "job_logs": "(SELECT j.payload ->> 'tenant_id' FROM public.jobs AS j WHERE j.id = t.job_id)",
    "analytics_jobs": "t.payload ->> 'tenant_id'",
    "jobs": "t.payload ->> 'tenant_id'",
    **dict.fromkeys(
        ("campaign_analytics", "mailbox_analytics", "lead_analytics", "warmup_analytics", "sequence_step_analytics"),
        "(SELECT b.tenant_id FROM public.billing_analytics AS b WHERE b.id = t.billing_id)",
    ),
}
SHARED = {
    "plans", "staff_roles", "staff_members", "permissions", "staff_role_permissions", "vps_instances", "smtp_ip_addresses",
    "system_config", "feature_flags", "system_notifications", "job_queues", "campaign_performance_freshness",
}  # fmt: skip


@dataclass
class Place:
    """A server with one database a tier."""

    server: Server
    databases: dict[str, Database]

    @classmethod
    def seeded(cls, server: Server) -> Place:
        """Make the four databases as found, with the rows of a few tenants."""
        found = {}
        for tier in TIERS:
            found[tier] = database(server, tier, server.database(tier), server.port)
            with psycopg.connect(found[tier].conninfo(), autocommit=True) as connection:
                fill(connection, tier, shape(SCALE, SEED), lambda _: None)
        return cls(server, found)

    def environment(self) -> Environment:
        """Return an environment of these databases and nothing else."""
        return Environment.model_construct(databases=list(self.databases.values()))

    @contextmanager
    def stages(self, tier: str, name: str = CHANGE) -> Iterator[Stages]:
        """Yield the stages of one change."""
        change = next(c for c in changes.plan(tier) if c.name == name)
        with ledger.connect(self.databases[tier]) as connection:
            yield Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS))

    def forward(self, tier: str, *, until: str = CHANGE) -> None:
        """Expand every change of a tier, then swap each, as phase 2 does, as far as one."""
        plan = [change.name for change in changes.plan(tier)]
        plan = plan[: plan.index(until) + 1]
        for name in plan:
            with self.stages(tier, name) as stages:
                stages.expand()
        if tier == "olap":
            performance_view.refresh(self.environment())
        for name in plan:
            with self.stages(tier, name) as stages:
                stages.swap()

    def back(self, tier: str) -> None:
        """Revert every change, the last first."""
        for change in reversed(_as_far(tier)):
            with self.stages(tier, change.name) as stages:
                stages.revert()

    def home(self, tier: str) -> None:
        """Contract every change, the first first."""
        for change in _as_far(tier):
            with self.stages(tier, change.name) as stages:
                stages.contract()

    def root(self, tier: str) -> psycopg.Connection[Any]:
        """Connect as the superuser."""
        return superuser(self.server.port, self.databases[tier].dbname)

    def relations(self, tier: str) -> dict[str, Relation]:
        """Return every relation of a database."""
        with ledger.connect(self.databases[tier]) as connection:
            change = rules.securing(tier)
            assert change
            return rules.of(connection, change).relations

    def report(self, tier: str) -> dict[str, Line]:
        """Return the report of a database by relation."""
        with ledger.connect(self.databases[tier]) as connection:
            change = rules.securing(tier)
            assert change
            return {line.relation: line for line in report.relations(connection, change, rules.of(connection, change))}

    def failing(self, tier: str) -> dict[str, str]:
        """Return what of a database fails, and why."""
        return {name: line.why for name, line in self.report(tier).items() if line.verdict == "fail"}


def _as_far(tier: str) -> list[changes.Change]:
    """Return a tier's changes as far as row security."""
    return [change for change in changes.plan(tier) if change.name <= CHANGE]  # by their numbers


def whose(relation: Relation) -> str:
    """Return the SQL that says, as text, whose a row of alias t is."""
    name = relation.root_name or relation.name
    said = BY_PARENT.get(name)
    if name == "jobs" and "tenant_id" in relation.columns:
        said = "t.tenant_id"
    if name.startswith(("rollout_", "002_")) or said is None:
        said = "t.tenant_id"
    return f"({said})::text"
