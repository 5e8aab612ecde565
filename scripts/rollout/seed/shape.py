"""How many rows of each kind a scale means."""

from __future__ import annotations

import dataclasses
import math

from rollout.errors import BadInput

SCALE_MAX = 1000.0
SEEDS = (0, 2**31 - 1)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Numbers of rows, each kind numbered from 0; a tenant's rows are its own number plus multiples of `tenants`."""

    seed: int
    tenants: int
    users: int
    companies: int
    domains: int
    email_accounts: int
    leads: int
    templates: int
    campaigns: int
    sequence_steps: int
    payments: int
    contents: int
    email_messages: int
    inbox_refs: int
    first_ref: int
    threads: int
    content_objects: int
    search_entries: int
    transactional_emails: int
    jobs: int
    jobs_finished: int
    jobs_scheduled: int
    jobs_ready: int
    jobs_processing: int
    jobs_migrated: int
    analytics_jobs: int
    billing_periods: int
    campaign_analytics: int
    audit_entries: int
    plans: int = 3
    staff: int = 4
    months: int = 37
    campaigns_each: int = 20
    leads_each: int = 200
    email_accounts_each: int = 6
    attachment_every: int = 20
    search_every: int = 50

    def numbers(self) -> dict[str, int]:
        """Return every number by its name, as the SQL files name them."""
        return dataclasses.asdict(self)


def shape(scale: float, seed: int) -> Shape:
    """Return the numbers for a scale (1 is 100,000 messages, 200,000 jobs, 50 tenants); raise BadInput out of range.

    Small scales are filled up, so that no kind of row is missing. What waits (ready, processing, in Redis) stays
    bounded whatever the scale: a backlog is what arrives faster than it is worked, and does not grow with history.
    """
    if not (math.isfinite(scale) and 0 < scale <= SCALE_MAX):
        raise BadInput(
            f"scale {scale} cannot be seeded",
            limit=f"more than 0, at most {SCALE_MAX:g}",
            next="choose another --scale",
        )
    if not SEEDS[0] <= seed <= SEEDS[1]:
        raise BadInput(f"seed {seed} cannot be used", limit=f"{SEEDS[0]} to {SEEDS[1]}", next="choose another --seed")
    tenants = max(5, round(50 * scale))
    threads = max(125, round(25_000 * scale))
    contents = 4 * threads
    email_messages = contents * 60 // 100
    twins = contents * 2 // 100
    jobs = max(1_000, round(200_000 * scale))
    scheduled = jobs * 15 // 1000
    ready, processing, migrated = (
        min(most, max(least, round(most * scale))) for least, most in ((20, 100), (2, 20), (30, 300))
    )
    return Shape(
        seed=seed,
        tenants=tenants,
        users=4 * tenants,
        companies=2 * tenants,
        domains=2 * tenants,
        email_accounts=6 * tenants,
        leads=200 * tenants,
        templates=8 * tenants,
        campaigns=20 * tenants,
        sequence_steps=60 * tenants,
        payments=12 * tenants,
        contents=contents,
        email_messages=email_messages,
        inbox_refs=contents - email_messages + twins,
        first_ref=email_messages - twins,
        threads=threads,
        content_objects=contents // 20,
        search_entries=contents // 50,
        transactional_emails=20 * tenants,
        jobs=jobs,
        jobs_finished=jobs - scheduled - ready - processing - migrated,
        jobs_scheduled=scheduled,
        jobs_ready=ready,
        jobs_processing=processing,
        jobs_migrated=migrated,
        analytics_jobs=10 * tenants,
        billing_periods=37 * tenants,
        campaign_analytics=20 * tenants + max(2, tenants // 10),
        audit_entries=20 * tenants,
    )
