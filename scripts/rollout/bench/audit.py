"""What the audit trail costs the product's writers: their own transactions, with it and without it, side by side."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from rollout.audit import sealing, verification
from rollout.bench import pinned, programs
from rollout.bench.data import calm, statement
from rollout.bench.server import SUPERUSER, Server, running
from rollout.engine import changes, ledger
from rollout.engine.ledger import Connection, Fence
from rollout.engine.stages import Stages
from rollout.environment import ROOT, TIERS, Database, Settings, Tier
from rollout.sandbox import postgres

RELEASES = ROOT / "scripts" / "service" / "releases"
OWNER, APPLICATION = postgres.RUNNER, postgres.APPLICATION
CHANGE = "006_audit_trail"
OFF, AGAIN, ON, CHAINED = "off", "again", "on", "chained"
VARIANTS = (OFF, AGAIN, ON, CHAINED)
NEEDED_BYTES = 6 * 2**30
LIMIT = 1.2
KEPT_SHARE = 0.95
# Backends that live long differ from one another by where their memory lies: new ones average that out. The first transactions
# of each fill its caches and are not counted.
TRANSACTIONS, COLD = 150, 20
SETTINGS: dict[str, Any] = {
    "stall_budget_total_ms": 5000, "stall_budget_once_ms": 1000, "lock_attempts_max": 50, "chunk_target_ms": 40,
    "blocker_transaction_max_seconds": 1.0,
}  # fmt: skip
Client = psycopg.Connection[Any]
Statements = dict[str, list[bytes]]


@dataclass(frozen=True)
class Options:
    """`seconds` for each tier and number of `clients`, each measured by itself; `flushed`: commits wait for the disk."""

    tiers: list[Tier] = field(default_factory=lambda: list(TIERS))
    clients: list[int] = field(default_factory=lambda: [1, 8])
    seconds: float = 20.0
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
            with _tier(server, tier) as connection:
                for clients in options.clients:
                    found.append(_measure(server, tier, connection, clients, options))
                    options.say(json.dumps(found[-1]))
    return found


def _measure(server: Server, tier: Tier, connection: Connection, clients: int, options: Options) -> dict[str, Any]:
    """Measure one tier; `connection`: to the database whose trail is on, which is then sealed and verified."""
    _load(server, tier, clients, options.seconds / 10, options)  # caches, and the tables' first rows
    with server.connect(f"{tier}_{ON}") as superuser:
        calm(superuser)
    spent, is_pinned = _load(server, tier, clients, options.seconds, options)
    median, mean = ({v: by(spent[v]) for v in VARIANTS} for by in (statistics.median, _trimmed))
    began = time.monotonic()
    sealed = sealing.seal(connection)
    seconds = time.monotonic() - began
    verdict = verification.verify(connection, [])
    ratios = [{v: round(of[v] / of[OFF], 3) for v in VARIANTS if v != OFF} for of in (median, mean)]
    return {
        "tier": tier, "clients": clients, "flushed": options.flushed, "pinned": is_pinned, "transactions": len(spent[OFF]),
        "median_ms": {v: round(median[v], 3) for v in VARIANTS}, "mean_ms": {v: round(mean[v], 3) for v in VARIANTS},
        "median_ratio": ratios[0], "mean_ratio": ratios[1], "limit": LIMIT, "within_limit": ratios[0][ON] <= LIMIT,
        "log_verdict": verdict.verdict, "sealed_rows": sealed.rows,
        "sealed_rows_per_s": round(sealed.rows / seconds) if sealed.rows else None,
        "verified_rows_per_s": round(verdict.rows / verdict.seconds) if verdict.rows else None,
        "load_average_1m": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _trimmed(milliseconds: list[float]) -> float:
    """Return the mean without the slowest 5 %, which are the machine's."""
    kept = sorted(milliseconds)[: max(1, round(len(milliseconds) * KEPT_SHARE))]
    return statistics.fmean(kept)


def _load(server: Server, tier: Tier, clients: int, seconds: float, options: Options) -> tuple[dict[str, list[float]], bool]:
    """Let clients repeat the tier's transaction on one database after the other; return the milliseconds of each, by variant.

    Every transaction has its like beside it, in another database, a few milliseconds apart and on the same core: whatever else
    the machine does is met by all of them. The second value tells whether that core was to be had.
    """
    until = time.monotonic() + seconds

    def one(number: int) -> tuple[dict[str, list[float]], bool]:
        took: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        who = {name: str(uuid.uuid4()) for name in ("tenant_id", "user_id", "session_id", "key")}
        state = {**who, "ip_address": "192.0.2.7", "user_agent": "bench"}
        with pinned.to_one_core(number) as pin:
            sat = True
            while time.monotonic() < until:
                sat = _connected(server, tier, (took, state), pin, (until, options.flushed)) and sat
        return took, sat

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(one, range(clients)))
    spent = {variant: [ms for took, _ in found for ms in took[variant]] for variant in VARIANTS}
    return spent, all(sat for _, sat in found)


def _connected(
    server: Server, tier: Tier, client: tuple[dict[str, list[float]], dict[str, str]], pin: pinned.Pin, how: tuple[float, bool]
) -> bool:
    """Repeat the transaction over one set of connections until `how[0]`; commits wait for the disk if `how[1]`."""
    (took, state), (until, flushed) = client, how
    act, statements = WORK[tier], _statements(tier)
    with ExitStack() as stack:
        connected = {v: stack.enter_context(server.connect(f"{tier}_{v}", APPLICATION)) for v in VARIANTS}
        sat = pin(list(connected.values()))
        for one in connected.values():
            one.prepare_threshold = 0
            one.execute(sql.SQL("SET synchronous_commit = {}").format(sql.SQL("on" if flushed else "off")))
        for turn in range(TRANSACTIONS + COLD):
            if time.monotonic() >= until and all(took.values()):
                break
            for variant in random.sample(VARIANTS, len(VARIANTS)):
                began = time.perf_counter()
                act(connected[variant], statements, state)
                if turn >= COLD:
                    took[variant].append((time.perf_counter() - began) * 1000)
    return sat


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
def _tier(server: Server, tier: Tier) -> Iterator[Connection]:
    """Make a tier's databases as found: without a trail (two alike), with it, chained row by row. Yield a connection to the third."""
    change = next(c for c in changes.plan(tier) if c.name == CHANGE)
    with ExitStack() as stack:
        connections = {}
        for variant in VARIANTS:
            dbname = f"{tier}_{variant}"
            with server.connect("postgres", SUPERUSER) as superuser:
                superuser.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(dbname), sql.Identifier(OWNER)))
            stack.callback(server.drop, dbname)
            target = Database(
                host=f"pg-{tier}-1", tier=tier, host_set="live", address="127.0.0.1", port=server.port, dbname=dbname,
                user=OWNER, passfile=str(server.passfile), app_role=APPLICATION,
            )  # fmt: skip
            connections[variant] = stack.enter_context(ledger.connect(target))
            connections[variant].execute((ROOT / "sql" / tier / "baseline.sql").read_bytes())
            stages = Stages(connections[variant], change, Fence("bench", 1), Settings.model_construct(**SETTINGS))
            stages.expand()
            if variant in (ON, CHAINED):
                stages.swap()
            if variant == CHAINED:
                connections[variant].execute(statement("audit_chained"))
        yield connections[ON]


def good(objects: list[dict[str, Any]]) -> bool:
    """Tell whether every log was verified; figures are reported, never judged here."""
    return all(one["log_verdict"] == "pass" for one in objects)
