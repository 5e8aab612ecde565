"""The product's own write transactions by tier, in the words of the release before the rollout: its tables are as found."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from rollout.environment import ROOT, Tier

RELEASES = ROOT / "scripts" / "service" / "releases"
Client = psycopg.Connection[Any]
Statements = dict[str, list[bytes]]


def _oltp(client: Client, said: Statements, state: dict[str, str]) -> None:
    """POST /campaigns: a campaign and three leads."""
    leads = [{"id": str(uuid.uuid4()), "email": f"{uuid.uuid4()}@example.com", "name": "n", "company": "c"} for _ in range(3)]
    values = {**state, "id": str(uuid.uuid4()), "company_id": None, "name": "n", "description": "d", "status": "draft",
              "leads": Jsonb(leads)}  # fmt: skip
    _transaction(client, said, values, "create_campaign", "create_leads")


def _content(client: Client, said: Statements, state: dict[str, str]) -> None:
    """POST /messages, with 4 KiB of content, and PATCH /messages/{key}."""
    text = "words and words " * 128
    values = {
        **state, "storage_key": f"bench/{uuid.uuid4()}", "content_text": text, "content_html": text, "headers": Jsonb({}),
        "raw_size_bytes": 4096, "content_hash": "0" * 64, "email_account_id": None, "campaign_id": None, "lead_id": None,
        "parent_message_id": None, "message_type": "email", "from_email": "a@example.com", "to_email": "b@example.com",
        "subject": "s", "status": "queued",
    }  # fmt: skip
    _transaction(client, said, values, "store_content", "record_outbound")
    _transaction(client, said, {**values, "status": "sent"}, "set_status")


def _queue(client: Client, said: Statements, state: dict[str, str]) -> None:
    """POST /jobs, and its work."""
    values = {
        **state, "id": str(uuid.uuid4()), "log_id": str(uuid.uuid4()), "queue_name": "email-sending", "priority": 100,
        "payload": Jsonb({"tenant_id": state["tenant_id"], "to": "a@example.com"}), "max_attempts": 3, "run": None, "attempt": 1,
        "started": "now", "outcome": "completed", "message": None,
    }  # fmt: skip
    _transaction(client, said, values, "enqueue")
    _transaction(client, said, values, "claim", "complete", "log_attempt")


def _olap(client: Client, said: Statements, state: dict[str, str]) -> None:
    """POST /analytics."""
    values = {
        **state, "subscription_id": "s", "emails_sent": 1, "campaigns_used": 1, "leads_used": 1, "campaign_id": state["key"],
        "period_start": "2026-11-01Z", "period_end": "2026-12-01Z", "company_id": "c", "billing_id": None,
        **dict.fromkeys(("sent", "delivered", "opened_tracked", "clicked_tracked", "replied", "bounced"), 1),
    }  # fmt: skip
    with client.transaction():
        client.execute(said["act"][0], values)
        for one in said["add_billing_counters"]:
            row = client.execute(one, values).fetchone()
        client.execute(said["lock_campaign"][0], values)
        if client.execute(said["add_campaign_counters"][0], values).rowcount == 0:
            client.execute(said["start_campaign_counters"][0], {**values, "billing_id": row[0] if row else None})


WORK: dict[str, Callable[[Client, Statements, dict[str, str]], None]] = {
    "oltp": _oltp, "content": _content, "queue": _queue, "olap": _olap,
}  # fmt: skip


def _transaction(client: Client, said: Statements, values: dict[str, Any], *names: str) -> None:
    with client.transaction():
        for name in ("act", *names):  # each transaction of the service begins so
            for one in said[name]:
                client.execute(one, values)


def statements(tier: Tier) -> Statements:
    """Return the statements of a tier by name, those that begin every transaction as `act`."""
    from service.queries import parse

    found: Statements = {"act": parse((RELEASES / "common" / "oltp.sql").read_text())["act"]}
    for folder in ("common", "v1"):
        path = RELEASES / folder / f"{tier}.sql"
        found |= parse(path.read_text()) if path.exists() else {}
    return found
