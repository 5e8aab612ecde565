"""Why row security cannot go on here: roles, tables that nobody declared, sessions that set no tenant, half-done rewrites."""

from __future__ import annotations

from rollout.engine.ledger import Connection
from rollout.engine.rewrite.description import ident
from rollout.engine.security import catalogue
from rollout.engine.security.making import OURS
from rollout.engine.security.rules import PAGE, Rules
from rollout.errors import Refused

NAMED_MAX = 10
BYPASSES = "SELECT rolbypassrls OR rolsuper AS bypasses, rolname AS name FROM pg_roles WHERE rolname = current_user"
HALFWAY = """
SELECT c.change, c.stage FROM rollout.changes AS c JOIN rollout.shapes AS s USING (change)
WHERE c.stage NOT IN ('swapped', 'contracting', 'contracted')
"""


def roles(connection: Connection, rules: Rules) -> None:
    """Raise Refused, with the SQL for whoever administers the cluster, when a role is missing or may what it must not."""
    wrong, cure = [], []
    own = connection.execute(BYPASSES).fetchone()
    if own and not own["bypasses"]:
        wrong.append(f"{own['name']}, which owns and compares the tables, is bound by row security")
        cure.append(f"ALTER ROLE {ident(own['name'])} BYPASSRLS")
    for row in catalogue.ask(connection, "roles", roles=list(rules.security.roles)):
        name, bypass = str(row["name"]), rules.security.roles[str(row["name"])] == "bypass"
        if not row["there"]:
            wrong.append(f"{name} does not exist")
            cure.append(f"CREATE ROLE {ident(name)} LOGIN NOSUPERUSER {'' if bypass else 'NO'}BYPASSRLS PASSWORD '...'")
            continue
        if row["super"]:
            wrong.append(f"{name} is a superuser")
            cure.append(f"ALTER ROLE {ident(name)} NOSUPERUSER")
        if row["bypass"] != bypass:
            wrong.append(f"{name} {'lacks' if bypass else 'has'} BYPASSRLS")
            cure.append(f"ALTER ROLE {ident(name)} {'' if bypass else 'NO'}BYPASSRLS")
        for other in [] if bypass else dict.fromkeys([*row["becomes"], *row["owns"]]):
            wrong.append(f"{name} can become {other}, whom policies do not bind")
            cure.append(f"REVOKE {ident(other)} FROM {ident(name)}")
    if wrong:
        raise Refused(f"{rules.change}: {'; '.join(wrong)}", next=f"as a superuser: {'; '.join(cure)};", page=f"{PAGE}#roles")


def undeclared(rules: Rules) -> None:
    """Raise Refused, by name, when a table is neither declared nor shared, or has a policy that nothing replaces."""
    if unknown := rules.undeclared():
        more = f" and {len(unknown) - NAMED_MAX} more" if len(unknown) > NAMED_MAX else ""
        raise Refused(
            f"{rules.change}: nobody said whose rows these hold: {', '.join(unknown[:NAMED_MAX])}{more}",
            limit="every table is in tenancy.tables or, with a reason, in tenancy.shared",
            next="declare each in the change.yml of the change that makes it", page=f"{PAGE}#undeclared",
        )  # fmt: skip
    stray = []
    for relation in rules.covered():
        rule = rules.rule(relation)
        replaced = rule.replaces if rule else []
        stray += [
            f"{p.name} on {relation.relation}" for p in relation.policies
            if not p.name.startswith(OURS) and p.name not in replaced
        ]  # fmt: skip
    if stray:
        raise Refused(
            f"{rules.change}: policies that would stand beside it: {', '.join(stray[:NAMED_MAX])}",
            next="name each under `replaces` of its table, or drop it", page=f"{PAGE}#undeclared",
        )  # fmt: skip


def sessions(connection: Connection, rules: Rules) -> None:
    """Raise Refused while a session is connected that is of no release that sets the tenant: it would see nothing."""
    said = rules.security.sessions
    found = catalogue.ask(connection, "sessions", roles=said.roles, applications=said.applications)
    if found:
        who = [f"pid {r['pid']} ({r['role']}, {r['application'] or 'no application_name'}, {r['address']})" for r in found]
        more = f" and {len(who) - NAMED_MAX} more" if len(who) > NAMED_MAX else ""
        raise Refused(
            f"{rules.change}: connected, and of no release that sets the tenant: {', '.join(who[:NAMED_MAX])}{more}",
            limit=f"application_name like {' or '.join(said.applications)}",
            next="stop or upgrade each, then repeat the command", page=f"{PAGE}#sessions",
        )  # fmt: skip


def halfway(connection: Connection, rules: Rules) -> None:
    """Raise Refused while a rewrite has a shadow that is not swapped: its swap compares it with what was declared."""
    if rows := connection.execute(HALFWAY).fetchall():
        which = ", ".join(f"{r['change']} ({r['stage']})" for r in rows)
        raise Refused(f"{rules.change}: not swapped yet: {which}", next="invoke deploy --phase 2", page=PAGE)
