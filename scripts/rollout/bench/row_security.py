"""What row security costs: the product's own statements, side by side, by a role that policies bind and by one they do not.

    python -m rollout.bench.row_security [-e ENV] [--turns N]

Each statement of both releases runs in a transaction of its own that is rolled back, in turns, as the application (or the
worker) and twice as the owner, who has BYPASSRLS: same data, same plans but for the policies. The two owners are the noise
floor: where their p95 differ, a ratio says no more than they do. All are on one core where their backends are processes of this
machine (else the figures say that they are not), and get new backends every few turns. Nothing is asserted; exit status 0.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from rollout import environment
from rollout.bench import pinned
from rollout.environment import ROOT, TIERS, Database
from service.queries import parse

RELEASES = ROOT / "scripts" / "service" / "releases"
VERSIONS = {"v1": "public", "v2": "v2, public"}
WORKERS = ("move", "claim", "complete", "retry_later", "give_up", "log_attempt", "status_of")
TENANT = "SELECT set_config('app.current_tenant_id', %(tenant_id)s, true)"
# Rows that requests are about: of each tier, one a turn.
SAMPLES = {
    "oltp": "SELECT tenant_id::text, id AS company_id FROM public.companies",
    "content": "SELECT tenant_id::text, storage_key, parent_message_id FROM public.email_messages",
    "queue": "SELECT payload ->> 'tenant_id' AS tenant_id, id, queue_name, priority FROM public.jobs"
             " WHERE rollout.uuid_or_null(payload ->> 'tenant_id') IS NOT NULL",
    "olap": "SELECT b.tenant_id, b.id AS billing_id, a.company_id, a.campaign_id, b.subscription_id, b.period_start, b.period_end"
            " FROM public.campaign_analytics AS a JOIN public.billing_analytics AS b ON b.id = a.billing_id",
}  # fmt: skip
SKIPPED = ("act", "lock_campaign")  # they touch no table
# What a request has written before, in the same transaction; not timed.
BEFORE = {"store_attachment": "store_content_object", "record_outbound": "store_content", "record_inbound": "store_content"}
NEW = ("store_content", "store_content_object", "enqueue", *BEFORE)  # these are about a key that nobody has
HIDDEN = ("campaign_performance_mv", "campaign_performance_mv_all")


TURNS, COLD = 100, 20  # turns over one set of backends; the first of them are not counted
SIDES = ("bound", "free", "again")
LIMIT = 1.1


@dataclass(frozen=True)
class Figure:
    """A statement: p50 and p95 in milliseconds, bound by policies and not, their ratios, and that of two that are not bound."""

    release: str
    tier: str
    name: str
    p50_bound_ms: float
    p50_free_ms: float
    p95_bound_ms: float
    p95_free_ms: float
    p50_ratio: float
    p50_noise: float
    ratio: float
    noise: float
    within_limit: bool
    pinned: bool


def measure(databases: Sequence[Database], worker_role: str, turns: int, seed: int = 1) -> list[Figure]:
    """Return a figure for each statement of both releases; one database a tier, with row security on."""
    found = []
    for database in databases:
        for version in VERSIONS:
            took: dict[str, list[tuple[float, ...]]] = {}
            with_core = [
                _some(database, worker_role, version, took, min(TURNS, turns - start), f"{seed} {start}")
                for start in range(0, turns, TURNS)
            ]
            where = (version, str(database.tier))
            found += [_figure((*where, name), took[name], is_pinned=all(with_core)) for name in took]
    return found


def _some(
    database: Database, worker_role: str, version: str, took: dict[str, list[tuple[float, ...]]], turns: int, seed: str
) -> bool:
    """Add some turns of each statement, over one set of backends, to `took`; tell whether all were on one core."""
    every = _statements(version, database.tier)
    roles = {"app": database.app_role, "worker": worker_role, "free": database.user, "again": database.user}
    with pinned.to_one_core() as core, ExitStack() as stack:
        by = {r: stack.enter_context(_connect(database, role, VERSIONS[version])) for r, role in roles.items()}
        is_pinned = core.pin(by.values())
        samples = by["free"].execute(SAMPLES[database.tier].encode()).fetchall()
        for name, texts in every.items():
            bound = by["worker" if database.tier == "queue" and name in WORKERS else "app"]
            sides = {"bound": bound, "free": by["free"], "again": by["again"]}
            statements = (every.get(BEFORE.get(name, ""), []), texts)
            chosen = random.Random(seed)  # which rows are asked for, the same for all sides
            each = [_turn(sides, statements, _values(chosen, samples, new=name in NEW)) for _ in range(turns + COLD)]
            took.setdefault(name, []).extend(each[COLD:])
    return is_pinned


def _figure(where: tuple[str, str, str], took: list[tuple[float, ...]], *, is_pinned: bool) -> Figure:
    sides = [sorted(side) for side in zip(*took, strict=True)]
    p50, p95 = ([round(side[int(len(side) * share)] * 1000, 3) for side in sides] for share in (0.5, 0.95))
    return Figure(
        *where, p50[0], p50[1], p95[0], p95[1], round(p50[0] / p50[1], 2), round(p50[2] / p50[1], 2), round(p95[0] / p95[1], 2),
        round(p95[2] / p95[1], 2), p95[0] / p95[1] <= LIMIT, is_pinned,
    )  # fmt: skip


def _connect(database: Database, role: str, path: str) -> psycopg.Connection[dict[str, Any]]:
    conninfo = database.model_copy(update={"user": role}).conninfo("penguin-v1-bench")
    options = f"-c search_path={path.replace(' ', '')}"
    connection = psycopg.connect(conninfo, row_factory=dict_row, autocommit=True, options=options)
    connection.prepare_threshold = 1
    return connection


def _statements(version: str, tier: str) -> dict[str, list[bytes]]:
    files = [RELEASES / folder / f"{tier}.sql" for folder in ("common", version)]
    found = {name: texts for f in files if f.exists() for name, texts in parse(f.read_text()).items()}
    return {name: texts for name, texts in found.items() if name not in SKIPPED}


Texts = tuple[list[bytes], list[bytes]]


def _turn(sides: dict[str, Any], statements: Texts, values: dict[str, Any]) -> tuple[float, ...]:
    """Return the seconds of each side, in the order of SIDES; they were asked in any order."""
    order = random.sample(SIDES, len(SIDES))
    took = {side: _once(sides[side], statements, values, hidden=side != "bound") for side in order}
    return tuple(took[side] for side in SIDES)


def _once(connection: Any, statements: Texts, values: dict[str, Any], *, hidden: bool) -> float:
    # Past psycopg, which forgets its prepared statements at a rollback: the application commits, and has its plans ready.
    connection.pgconn.exec_(b"BEGIN")
    try:
        connection.execute(TENANT, values)
        for statement in statements[0]:
            connection.execute(statement, values)
        started = time.perf_counter()
        for statement in statements[1]:
            text = statement.replace(HIDDEN[0].encode(), HIDDEN[1].encode()) if hidden else statement
            cursor = connection.execute(text, values)
            if cursor.description:
                cursor.fetchall()
        return time.perf_counter() - started
    finally:
        connection.pgconn.exec_(b"ROLLBACK")


def _values(chosen: random.Random, samples: list[dict[str, Any]], *, new: bool) -> dict[str, Any]:
    row = dict(chosen.choice(samples))
    if new:
        row |= {"storage_key": f"bench/{uuid.uuid4()}", "id": str(uuid.uuid4())}
    lead = [{"id": str(uuid.uuid4()), "email": f"{uuid.uuid4()}@bench.example", "name": "n", "company": "c"}]
    rest: dict[str, Any] = dict.fromkeys(
        ("email_account_id", "campaign_id", "lead_id", "parent_message_id", "content_text", "content_html", "subscription_id"),
    )  # fmt: skip
    rest |= {
        "name": "bench", "description": "", "status": "draft", "leads": json.dumps(lead), "queue_name": "email-sending",
        "priority": 100, "payload": json.dumps({"tenant_id": row["tenant_id"]}), "max_attempts": 3, "run": None, "limit": 50,
        "attempt": 1, "started": "2026-01-01T00:00:00Z", "message": "", "outcome": "completed", "backoff_seconds": 1,
        "log_id": str(uuid.uuid4()), "headers": "{}", "raw_size_bytes": 1, "content_hash": "", "filename": "f",
        "mime_type": "text/plain", "size_bytes": 1, "content": b"x", "direction": "outbound", "message_type": "email",
        "from_email": "a@bench.example", "to_email": "b@bench.example", "subject": "s", "emails_sent": 1, "campaigns_used": 0,
        "leads_used": 0, "sent": 1, "delivered": 1, "opened_tracked": 0, "clicked_tracked": 0, "replied": 0, "bounced": 0,
        "id": str(uuid.uuid4()), "company_id": None, "storage_key": str(uuid.uuid4()),
    }  # fmt: skip
    return rest | row | ({"status": "sent"} if "storage_key" in row else {})


def main(argv: Sequence[str] | None = None) -> int:
    """Measure an environment that has row security on; print a line a statement, or JSON."""
    asked = argparse.ArgumentParser(prog="python -m rollout.bench.row_security")
    asked.add_argument("-e", "--env", default="sandbox")
    asked.add_argument("--turns", type=int, default=400)
    asked.add_argument("--worker-role", default="penguin_worker")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args(argv)
    env = environment.load(given.env)
    figures = measure([env.tier(tier)[0] for tier in TIERS], given.worker_role, given.turns)
    show(figures, as_json=given.json)
    return 0


def show(figures: Sequence[Figure], *, as_json: bool = False) -> None:
    """Print the figures."""
    if as_json:
        print(json.dumps([asdict(f) for f in figures], indent=1))
        return
    print("bound / free: their ratio (that of the two owners)")
    for f in figures:
        print(f"{f.release} {f.tier:8}{f.name:24}"
              f" p50 {f.p50_bound_ms:7.3f} / {f.p50_free_ms:7.3f} ms {f.p50_ratio:5.2f}x ({f.p50_noise:.2f})"
              f"  p95 {f.p95_bound_ms:7.3f} / {f.p95_free_ms:7.3f} ms {f.ratio:5.2f}x ({f.noise:.2f})"
              f"{'' if f.pinned else '  not on one core'}")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
