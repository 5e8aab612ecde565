"""The statements that put row security on one relation, and those that take it off again, from what the ledger has kept."""

from __future__ import annotations

from typing import Any

from rollout.engine.rewrite.carry import literal
from rollout.engine.rewrite.description import ident
from rollout.engine.security.catalogue import COMMANDS, Policy, Relation
from rollout.engine.security.rules import HIDDEN, PAGE, Rules
from rollout.errors import Refused

OURS = "row_security_"
GUARD = "row_security_place"
INVOKER = "security_invoker"


def policies(rules: Rules, relation: Relation) -> list[str]:
    """Return the CREATE POLICY statements of a table."""
    mine, made = rules.predicate(relation), []
    for role, scope in rules.security.roles.items():
        create = f"CREATE POLICY {ident(OURS + role)} ON {relation.relation}"
        if scope == "tenant":
            made.append(f"{create} FOR ALL TO {ident(role)} USING ({mine}) WITH CHECK ({mine})")
            if extra := rules.insertable(relation):
                name = ident(f"{OURS}{role}_insert")
                made.append(f"CREATE POLICY {name} ON {relation.relation} FOR INSERT TO {ident(role)} WITH CHECK ({extra})")
        elif scope == "all":
            made.append(f"{create} FOR ALL TO {ident(role)} USING (true) WITH CHECK (true)")
        elif scope == "read":
            made.append(f"{create} FOR SELECT TO {ident(role)} USING (true)")
    return made


def names(rules: Rules, relation: Relation) -> list[str]:
    """Return the names of the policies that a table gets."""
    extra = bool(rules.insertable(relation))
    made = [OURS + role for role in rules.roles("tenant", "all", "read")]
    return sorted(made + ([f"{OURS}{role}_insert" for role in rules.roles("tenant")] if extra else []))


def switch_on(rules: Rules, relation: Relation) -> list[str]:
    """Return what a table gets: its found policies that give way go, ours come, enabled and forced."""
    rule = rules.rule(relation)
    gone = [p.name for p in relation.policies if p.name.startswith(OURS) or (rule and p.name in rule.replaces)]
    return [
        *(f"DROP POLICY {ident(name)} ON {relation.relation}" for name in gone),
        *policies(rules, relation),
        f"ALTER TABLE {relation.relation} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        *(guard(rules, relation) if rules.merged(relation) else []),
    ]


def guard(rules: Rules, relation: Relation) -> list[str]:
    """Return what keeps an insert under one old name from replacing another tenant's row under the other."""
    rule = rules.rule(relation)
    column = rules.column(relation, rule.tenant) if rule and rule.tenant else None
    if column is None:
        raise Refused(f"{relation.relation} stands for two tables, and no column of it says whose a row is",
                      next=f"give {rules.called(relation)} a tenant", page=PAGE)  # fmt: skip
    return [
        (f"CREATE OR REPLACE TRIGGER {GUARD} BEFORE DELETE ON {relation.relation} FOR EACH ROW"
         f" EXECUTE FUNCTION rollout.keep_place({literal(column)}, {literal(rules.security.setting)})"),
        f"ALTER TABLE {relation.relation} ENABLE ALWAYS TRIGGER {GUARD}",
    ]  # fmt: skip


def unguard(relation: str) -> str:
    """Return what takes that off again."""
    return f"DROP TRIGGER IF EXISTS {GUARD} ON {relation}"


def found(relation: Relation) -> dict[str, Any]:
    """Return what has to come back: flags, policies as SQL and privileges of what is there before anything is touched."""
    kept = [p for p in relation.policies if not p.name.startswith(OURS)]
    return {
        "enabled": relation.enabled, "forced": relation.forced, "options": relation.options, "grants": relation.grants,
        "policies": [statement for p in kept for statement in create(p, relation.relation)], "names": [p.name for p in kept],
    }  # fmt: skip


def switch_off(relation: Relation, kept: dict[str, Any]) -> list[str]:
    """Return what gives a table back exactly what it had."""
    gone = [p.name for p in relation.policies if p.name.startswith(OURS) or p.name in kept["names"]]
    return [
        *(f"DROP POLICY {ident(name)} ON {relation.relation}" for name in gone),
        *kept["policies"],
        *([unguard(relation.relation)] if relation.guarded else []),
        f"ALTER TABLE {relation.relation} {'ENABLE' if kept['enabled'] else 'DISABLE'} ROW LEVEL SECURITY",
        f"ALTER TABLE {relation.relation} {'' if kept['forced'] else 'NO '}FORCE ROW LEVEL SECURITY",
    ]


def create(policy: Policy, relation: str) -> list[str]:
    """Return the statements that make a policy as the catalogue has it."""
    to = ", ".join("PUBLIC" if role == "public" else ident(role) for role in policy.roles)
    said = f"CREATE POLICY {ident(policy.name)} ON {relation} AS {'PERMISSIVE' if policy.permissive else 'RESTRICTIVE'}"
    said += f" FOR {COMMANDS[policy.command]} TO {to}"
    said += f" USING ({policy.using})" if policy.using is not None else ""
    said += f" WITH CHECK ({policy.check})" if policy.check is not None else ""
    comment = f"COMMENT ON POLICY {ident(policy.name)} ON {relation} IS {literal(policy.comment or '')}"
    return [said, *([comment] if policy.comment else [])]


def invoke(view: Relation) -> list[str]:
    """Return what makes a view ask for the rights of whoever reads it."""
    return [f"ALTER VIEW {view.relation} SET ({INVOKER} = true)"]


def invoke_no_more(view: Relation, kept: dict[str, Any]) -> list[str]:
    """Return what gives a view back the option that it had."""
    had = next((o.partition("=")[2] for o in kept["options"] if o.startswith(f"{INVOKER}=")), None)
    return [f"ALTER VIEW {view.relation} " + (f"SET ({INVOKER} = {had})" if had else f"RESET ({INVOKER})")]


def hidden(relation: Relation) -> str:
    """Return the qualified, quoted name that a materialised view has behind its filtering view."""
    return f"{ident(relation.schema_)}.{ident(relation.name.removesuffix(HIDDEN) + HIDDEN)}"


def shown(relation: Relation) -> str:
    """Return the qualified, quoted name that clients have for a materialised view."""
    return f"{ident(relation.schema_)}.{ident(relation.name.removesuffix(HIDDEN))}"


def cover(rules: Rules, relation: Relation, kept: dict[str, Any]) -> list[str]:
    """Return what shuts a materialised view off and puts a filtering view in its place.

    The view runs with its owner's rights, whom row security does not bind: its own WHERE is all that filters, and a barrier.
    """
    view, behind = shown(relation), hidden(relation)
    columns = ", ".join(f"m.{ident(c)}" for c in relation.column_order)
    everybody = rules.roles("all", "read")
    mine = rules.predicate(relation, "m")
    select = f"SELECT {columns} FROM {behind} AS m WHERE "
    body = select + mine
    if everybody:
        # Two branches, so that the tenant's is found by its index: one condition of both could not use it.
        sees = "(SELECT " + " OR ".join(f"pg_has_role({literal(role)}, 'USAGE')" for role in everybody) + ")"
        body = f"{select}{mine} AND NOT {sees} UNION ALL {select}{sees}"
    renamed = ident(relation.name.removesuffix(HIDDEN) + HIDDEN)
    readers = [g["grantee"] for g in kept["grants"] if g["privilege"] == "SELECT"]
    return [
        *([] if relation.name.endswith(HIDDEN) else [f"ALTER MATERIALIZED VIEW {relation.relation} RENAME TO {renamed}"]),
        *(f"REVOKE ALL ON {behind} FROM {_to(g['grantee'])}" for g in kept["grants"]),
        f"CREATE OR REPLACE VIEW {view} WITH (security_barrier = true) AS {body}",
        f"REVOKE ALL ON {view} FROM PUBLIC",
        *(f"GRANT SELECT ON {view} TO {ident(role)}" for role in readers if role in rules.security.roles),
    ]


def uncover(relation: Relation, kept: dict[str, Any]) -> list[str]:
    """Return what takes the filtering view away and gives the materialised view its name and privileges back."""
    home = shown(relation)
    option = {True: " WITH GRANT OPTION", False: ""}
    return [
        f"DROP VIEW IF EXISTS {home}",
        f"ALTER MATERIALIZED VIEW {hidden(relation)} RENAME TO {ident(relation.name.removesuffix(HIDDEN))}",
        *(
            f"GRANT {g['privilege']} ON {home} TO {_to(g['grantee'])}{option[g['grantable']]}"
            for g in kept["grants"]
        ),
    ]  # fmt: skip


def _to(grantee: str) -> str:
    return "PUBLIC" if grantee == "public" else ident(grantee)
