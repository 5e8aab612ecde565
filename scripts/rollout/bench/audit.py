"""What the audit trail costs the product's writers: their own statements, with it and without it, in turn, in one run."""

from __future__ import annotations

import json
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from rollout.audit import sealing, verification
from rollout.bench import programs
from rollout.bench.data import calm, statement
from rollout.bench.server import SUPERUSER, Server, running
from rollout.engine import changes, ledger
from rollout.engine.ledger import Fence
from rollout.engine.stages import Stages
from rollout.environment import ROOT, TIERS, Database, Settings, Tier
from rollout.sandbox import postgres

RELEASES = ROOT / "scripts" / "service" / "releases"
OWNER, APPLICATION = postgres.RUNNER, postgres.APPLICATION
CHANGE = "006_audit_trail"
OFF, ON, CHAINED = "off", "on", "chained"
VARIANTS = (OFF, ON, CHAINED)
NEEDED_BYTES = 6 * 2**30
LIMIT = 1.2
SETTINGS: dict[str, Any] = {
    "stall_budget_total_ms": 5000, "stall_budget_once_ms": 1000, "lock_attempts_max": 50, "chunk_target_ms": 40,
    "blocker_transaction_max_seconds": 1.0,
}  # fmt: skip
Client = psycopg.Connection[Any]
Statements = dict[str, list[bytes]]


@dataclass(frozen=True)
class Options:
    """`seconds` a turn, `turns` of each variant, `clients`: at a time, each measured by itself; `folder`: of programs."""

    tiers: list[Tier] = field(default_factory=lambda: list(TIERS))
    clients: list[int] = field(default_factory=lambda: [1, 8])
    seconds: float = 4.0
    turns: int = 5
    flushed: bool = True
    folder: Path | None = None
    directory: Path | None = None
    say: Callable[[str], None] = lambda _: None


def run(options: Options) -> list[dict[str, Any]]:
    """Measure each tier and number of clients; return an object for each."""
    chosen = programs.choose(options.folder, repack=False, install=False)
    found = []
    with running(chosen, options.directory, NEEDED_BYTES) as server:
        _roles(server)
        for tier in options.tiers:
            with _tier(server, tier) as stages:
                for clients in options.clients:
                    found.append(_measure(server, tier, stages, clients, options))
                    options.say(json.dumps(found[-1]))
    return found


def _measure(server: Server, tier: Tier, stages: Stages, clients: int, options: Options) -> dict[str, Any]:
    """Take the variants in turn, so that whatever else the machine does is met by all of them."""
    spent: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    _dress(stages, OFF)
    _load(server, tier, clients, options.seconds, flushed=options.flushed)  # caches, and the tables' first rows
    for _ in range(options.turns):
        for variant in VARIANTS:
            _dress(stages, variant)
            with server.connect(tier) as superuser:
                calm(superuser)
            milliseconds = _load(server, tier, clients, options.seconds, flushed=options.flushed)
            spent[variant].append(statistics.median(milliseconds))
            rates[variant].append(len(milliseconds) / options.seconds)
    _dress(stages, OFF)
    ratio = {v: [one / off for one, off in zip(spent[v], spent[OFF], strict=True)] for v in VARIANTS}
    began = time.monotonic()
    sealed = sealing.seal(stages.connection)
    seconds = time.monotonic() - began
    verdict = verification.verify(stages.connection, [])
    return {
        "tier": tier, "clients": clients, "flushed": options.flushed,
        "median_ms": {v: round(statistics.median(spent[v]), 3) for v in VARIANTS},
        "transactions_per_s": {v: round(statistics.median(rates[v])) for v in VARIANTS},
        "latency_ratio": {v: round(statistics.median(ratio[v]), 3) for v in (ON, CHAINED)},
        "throughput_ratio": {v: round(statistics.median(_over(rates[v], rates[OFF])), 3) for v in (ON, CHAINED)},
        "limit": LIMIT, "sealed_rows": sealed.rows, "sealed_rows_per_s": round(sealed.rows / seconds) if sealed.rows else None,
        "verified_rows_per_s": round(verdict.rows / verdict.seconds) if verdict.rows else None, "verdict": verdict.verdict,
        "load_average_1m": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _over(some: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(some, others, strict=True)]


def _dress(stages: Stages, variant: str) -> None:
    """Have the trail off, on, or on and chained row by row."""
    connection = stages.connection
    if variant == OFF:
        stages.revert()
    else:
        stages.expand()
        stages.swap()
        connection.execute(statement("audit_chained"))
        if variant == ON:
            connection.execute("DROP TRIGGER chain_row ON public.audit_log_enhanced")


def _load(server: Server, tier: Tier, clients: int, seconds: float, *, flushed: bool) -> list[float]:
    """Let clients repeat the tier's transaction for some seconds; return the milliseconds of each."""
    act = WORK[tier]
    until = time.monotonic() + seconds

    def one(number: int) -> list[float]:
        took = []
        with server.connect(tier, APPLICATION) as client:
            client.prepare_threshold = 0
            client.execute(sql.SQL("SET synchronous_commit = {}").format(sql.SQL("on" if flushed else "off")))
            who = {name: str(uuid.uuid4()) for name in ("tenant_id", "user_id", "session_id", "key")}
            statements, state = _statements(tier), {**who, "ip_address": "192.0.2.7", "user_agent": "bench"}
            while time.monotonic() < until:
                began = time.perf_counter()
                act(client, statements, state)
                took.append((time.perf_counter() - began) * 1000)
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [spent for some in pool.map(one, range(clients)) for spent in some]


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


def _statements(tier: Tier) -> Statements:
    """Return the product's statements of a tier, as the release before the rollout has them: the tables are as found."""
    from service.queries import parse

    found: Statements = {"act": parse((RELEASES / "common" / "oltp.sql").read_text())["act"]}
    for folder in ("common", "v1"):
        path = RELEASES / folder / f"{tier}.sql"
        found |= parse(path.read_text()) if path.exists() else {}
    return found


def _roles(server: Server) -> None:
    """Make the product's roles; who may log in here with a password is decided by the server's passfile."""
    words = {role: uuid.uuid4().hex for role in postgres.ROLES}
    with server.passfile.open("a") as file:
        file.writelines(f"127.0.0.1:*:*:{role}:{word}\n" for role, word in words.items())
    with server.connect("postgres") as superuser:
        for role, word in words.items():
            made = sql.SQL("CREATE ROLE {} {} PASSWORD {}")
            superuser.execute(made.format(sql.Identifier(role), sql.SQL(postgres.ROLES[role]), sql.Literal(word)))
        for role, of in postgres.MEMBERSHIPS.items():
            superuser.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(of), sql.Identifier(role)))


@contextmanager
def _tier(server: Server, tier: Tier) -> Iterator[Stages]:
    """Make a tier's database as found, and yield the stages of its audit trail."""
    with server.connect("postgres", SUPERUSER) as superuser:
        superuser.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(tier), sql.Identifier(OWNER)))
    target = Database(
        host=f"pg-{tier}-1", tier=tier, host_set="live", address="127.0.0.1", port=server.port, dbname=tier, user=OWNER,
        passfile=str(server.passfile), app_role=APPLICATION,
    )  # fmt: skip
    change = next(c for c in changes.plan(tier) if c.name == CHANGE)
    with ledger.connect(target) as connection:
        connection.execute((ROOT / "sql" / tier / "baseline.sql").read_bytes())
        stages = Stages(connection, change, Fence("bench", 1), Settings.model_construct(**SETTINGS))
        stages.expand()
        yield stages
    server.drop(tier)


def good(objects: list[dict[str, Any]]) -> bool:
    """Tell whether every log was verified; figures are reported, never judged here."""
    return all(one["verdict"] == "pass" for one in objects)
