"""Whether a table of tenants' rows that no tenant sees is closed: read by its readers alone, written by its owner alone."""

from __future__ import annotations

from pathlib import Path

from rollout.engine.ledger import Connection
from rollout.engine.security.catalogue import COMMANDS, Relation
from rollout.engine.security.model import Withheld
from rollout.engine.security.rules import Rules

# Which of some roles may do what to a relation, also by a column, by PUBLIC or by a role that they are members of.
MAY = Path(__file__).parent / "sql" / "may.sql"
LEDGER = Path(__file__).parent / "sql" / "ledger.sql"


def wrong(connection: Connection, rules: Rules, relation: Relation, held: Withheld) -> list[str]:
    """Return a line for everything that lets somebody else read it, or a role of the product write it."""
    if not relation.is_table:
        return [f"it is a {relation.says}, which policies do not close"]
    found = []
    if not relation.enabled:
        found.append("row security is not enabled")
    if not relation.forced:
        found.append("row security is not forced: its owner passes it by")
    bound = rules.roles("tenant", "all", "read", "none")
    if relation.owner in bound:
        found.append(f"{relation.owner} owns it, and may take its policies off")
    for policy in (p for p in relation.policies if p.permissive):
        others = [role for role in policy.roles if role not in (relation.owner, *held.readers)]
        found += [f"policy {policy.name} lets {role} {COMMANDS[policy.command]}" for role in others]
    roles = list(dict.fromkeys([*bound, *held.readers]))
    for row in connection.execute(MAY.read_bytes(), {"roles": roles, "relation": relation.relation}).fetchall():
        may = [p for p in row["privileges"] if p != "SELECT" or row["role"] not in held.readers]
        found += [f"{row['role']} may {', '.join(may)}"] if may else []
    return found


def ledger(connection: Connection, rules: Rules) -> list[tuple[str, str]]:
    """Return each relation of the ledger that holds rows or ids of tenants and that a role of the product may read, and why."""
    bound = rules.roles("tenant", "all", "read", "none")
    rows = connection.execute(LEDGER.read_bytes(), {"roles": bound}).fetchall()
    return [(str(r["relation"]), f"{r['role']} may read it, and it holds what is tenants'") for r in rows]
