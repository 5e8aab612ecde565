"""Databases of one tier that differ by their audit trail alone: without one (two alike, the noise floor), with it, chained."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from psycopg import sql

from rollout.bench.data import statement
from rollout.bench.server import SUPERUSER, Server
from rollout.engine import changes, ledger
from rollout.engine.ledger import Connection, Fence
from rollout.engine.stages import Stages
from rollout.environment import ROOT, Database, Settings, Tier
from rollout.sandbox import postgres

OWNER, APPLICATION = postgres.RUNNER, postgres.APPLICATION
CHANGE = "006_audit_trail"
OFF, AGAIN, ON, CHAINED = "off", "again", "on", "chained"
SETTINGS: dict[str, Any] = {
    "stall_budget_total_ms": 5000, "stall_budget_once_ms": 1000, "lock_attempts_max": 50, "chunk_target_ms": 40,
    "blocker_transaction_max_seconds": 1.0,
}  # fmt: skip


def roles(server: Server) -> None:
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
def made(server: Server, tier: Tier, variants: Sequence[str]) -> Iterator[Connection]:
    """Make a tier's databases, `<tier>_<variant>`, as found but for their trails; yield a connection to that of ON."""
    change = next(c for c in changes.plan(tier) if c.name == CHANGE)
    with ExitStack() as stack:
        connections = {}
        for variant in variants:
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
