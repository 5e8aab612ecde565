"""What each relation of a database is worth: pass, fail, or not multi-tenant, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rollout.engine import ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection
from rollout.engine.security import catalogue, making, withheld
from rollout.engine.security.catalogue import Policy, Relation
from rollout.engine.security.rules import HIDDEN, Rules

OUTSIDE = ("TRUNCATE", "REFERENCES", "TRIGGER")  # what a table's privileges allow past every policy
NOT_OURS = "not multi-tenant"
MADE = "SELECT relation, made FROM rollout.row_security WHERE change = %s"
STAGE = "SELECT stage FROM rollout.changes WHERE change = %s"
REACH = """
SELECT w.role FROM unnest(%(roles)s::text[]) AS w (role) JOIN pg_roles AS r ON r.rolname = w.role
WHERE has_any_column_privilege(r.oid, %(relation)s::regclass, 'SELECT, INSERT, UPDATE, REFERENCES')
    OR has_table_privilege(r.oid, %(relation)s::regclass, 'DELETE, TRUNCATE, TRIGGER')
"""
PAST = """
SELECT c.oid::regclass::text, format('%%I.%%I', n.nspname, c.relname) AS relation, r.rolname AS role, p.privilege
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN pg_roles AS r
CROSS JOIN unnest(%(privileges)s::text[]) AS p (privilege)
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'rollout')
    AND r.rolname = ANY (%(roles)s::text[]) AND has_table_privilege(r.oid, c.oid, p.privilege)
"""


@dataclass(frozen=True)
class Line:
    """One relation (or, only where it fails, a function or a relation of the ledger): what it is worth and why."""

    relation: str
    kind: str
    verdict: str
    why: str

    def to_dict(self) -> dict[str, str]:
        """Return JSON-native values."""
        return asdict(self)


def made(connection: Connection, rules: Rules, relation: Relation) -> dict[str, Any]:
    """Return what was just made of a relation, as the catalogue says it, for later comparison."""
    if relation.kind == "m":
        return {"definition": _placed(catalogue.definition(connection, making.shown(relation)), rules)}
    if relation.kind == "v":
        return {}
    found = catalogue.policies(connection, relation.relation)
    return {"policies": [_said(p, rules) for p in found if p.name.startswith(making.OURS)]}


def relations(connection: Connection, change: Change, rules: Rules) -> list[Line]:
    """Return a line for every relation of a database, by name, and one for each function that shows a role others' rows."""
    known = ledger.installed(connection) and connection.execute(
        "SELECT to_regclass('rollout.row_security') IS NOT NULL AS there"
    ).fetchone()
    stored = connection.execute(MADE, (change.name,)).fetchall() if known and known["there"] else []
    kept = {str(row["relation"]): row["made"] for row in stored}
    # Between the contract of a rewrite and that of row security a table has come home, and its entry has not.
    kept |= {k: v for name, v in kept.items() if (k := home_of(name)) and k not in kept}
    # A later change that renames columns has moved the table itself, with its policies, out of the schema where it got them.
    kept |= {name: kept[k] for name in rules.relations if name not in kept and (k := home_of(name)) in kept}
    everywhere = _of_roles(connection, rules)
    past = {
        (str(row["relation"]), f"{row['role']} may {row['privilege']}, which no policy stops")
        for row in connection.execute(PAST, {"roles": rules.roles("tenant", "all", "read", "none"), "privileges": list(OUTSIDE)})
    }
    strangers = catalogue.ask(connection, "strangers", known=rules.roles("bypass"))
    lines = []
    for relation in rules.relations.values():
        verdict, whys = _one(connection, rules, relation, kept)
        if verdict == "pass" and relation.is_table:
            whys_more = [*everywhere, *(why for name, why in sorted(past) if name == relation.relation)]
            whys_more += [f"{s['role']} has BYPASSRLS and privileges" for s in strangers if s["relation"] == relation.relation]
            whys, verdict = (whys_more, "fail") if whys_more else (whys, verdict)
        lines.append(Line(relation.relation, relation.says, verdict, "; ".join(whys)))
    lines += [Line(name, "ledger", "fail", why) for name, why in withheld.ledger(connection, rules)]
    return [*lines, *_functions(connection, rules)]


def _one(connection: Connection, rules: Rules, relation: Relation, kept: dict[str, Any]) -> tuple[str, list[str]]:
    if held := rules.withheld(relation):
        wrong = withheld.wrong(connection, rules, relation, held)
        why = f"no tenant sees it, {', '.join(held.readers) or 'nobody'} reads it: {held.why}"
        return ("fail", wrong) if wrong else ("pass", [why])
    if reason := rules.shared(relation):
        if rules.security.column in relation.columns and not relation.extension:
            return "fail", [f"it has a {rules.security.column}, and {rules.change} says that it is no tenant's: {reason}"]
        return NOT_OURS, [reason]
    if relation.kind == "v":
        return _view(rules, relation, kept)
    if not relation.is_table:
        return _without_policies(connection, rules, relation, kept)
    if rules.rule(relation) is None:
        return "fail", [f"neither declared nor shared in {rules.change}"]
    return _table(rules, relation, kept)


def _without_policies(connection: Connection, rules: Rules, relation: Relation, kept: dict[str, Any]) -> tuple[str, list[str]]:
    """Judge a materialised view or a foreign table, which has to be shut off."""
    roles = ["public", *rules.roles("tenant", "all", "read", "none")]
    asked = connection.execute(REACH, {"roles": roles, "relation": relation.relation}).fetchall()
    readers = [str(row["role"]) for row in asked] + [g["grantee"] for g in relation.grants if g["grantee"] == "public"]
    if readers:
        return "fail", [f"{', '.join(dict.fromkeys(readers))} may reach it, and no policy applies to a {relation.says}"]
    if rules.rule(relation) is None:
        return "fail", [f"neither declared nor shared in {rules.change}"]
    if relation.kind == "m" and (not relation.name.endswith(HIDDEN) or making.shown(relation) not in kept):
        return "fail", ["no filtering view stands before it"]
    return "pass", ["no role of the product has a privilege on it"]


def _view(rules: Rules, view: Relation, kept: dict[str, Any]) -> tuple[str, list[str]]:
    behind = rules.relations.get(making.hidden(view))
    if behind is not None and behind.kind == "m" and view.relation in kept:
        if not view.option("security_barrier"):
            return "fail", ["it filters without security_barrier"]
        if _placed(view.definition or "", rules) != kept[view.relation].get("definition"):
            return "fail", ["its filter is not the one that was made"]
        return "pass", [f"it shows the tenant's rows of {behind.relation}"]
    if not view.option(making.INVOKER):
        return "fail", ["it runs with its owner's rights (no security_invoker), whom no policy binds"]
    return "pass", ["it runs with the rights of whoever asks"]


def _table(rules: Rules, relation: Relation, kept: dict[str, Any]) -> tuple[str, list[str]]:
    wrong = []
    if not relation.enabled:
        wrong.append("row security is not enabled")
    if not relation.forced:
        wrong.append("row security is not forced: its owner passes it by")
    if relation.owner in rules.security.roles and rules.security.roles[relation.owner] != "bypass":
        wrong.append(f"{relation.owner} owns it, and may take its policies off")
    if rules.merged(relation) and not relation.guarded:
        wrong.append(f"an insert may replace another tenant's row: trigger {making.GUARD} is missing")
    want = {p["name"]: p for p in kept.get(relation.relation, {}).get("policies", [])}
    expected = making.names(rules, relation)
    have = {p.name: _said(p, rules) for p in relation.policies}
    wrong += [f"policy {name} is missing" for name in expected if name not in have]
    wrong += [f"policy {name} is additional" for name in have if name not in expected]
    for name in expected:
        if name in have and name not in want:
            wrong.append(f"policy {name} was not made by {rules.change}")
        elif name in have and have[name] != want[name]:
            wrong += [
                f"policy {name}: {part} is {have[name][part]}, not {want[name][part]}"
                for part in want[name] if have[name].get(part) != want[name][part]
            ]  # fmt: skip
    if wrong:
        return "fail", wrong
    rule = rules.rule(relation)
    assert rule
    how = f"by way of {rule.through.parent}" if rule.through else f"by {rule.tenant or rule.expression}"
    return "pass", [f"{how}, for {', '.join(rules.roles('tenant'))}"]


def _of_roles(connection: Connection, rules: Rules) -> list[str]:
    """Return what is wrong with the product's roles, which is wrong for every table that they may reach."""
    wrong = []
    for row in catalogue.ask(connection, "roles", roles=rules.roles("tenant", "all", "read", "none")):
        if row["super"]:
            wrong.append(f"{row['name']} is a superuser")
        if row["bypass"]:
            wrong.append(f"{row['name']} has BYPASSRLS")
        wrong += [f"{row['name']} can become {other}" for other in dict.fromkeys([*row["becomes"], *row["owns"]])]
    return wrong


def _functions(connection: Connection, rules: Rules) -> list[Line]:
    found = catalogue.ask(connection, "definers", roles=rules.roles("tenant", "all", "read", "none"))
    return [
        Line(row["signature"], "function", "fail",
             f"it runs with its owner's rights, {', '.join(row['callers'])} may call it, and {rules.change} does not say why")
        for row in found
        if not {row["signature"], row["function"]} & set(rules.tenancy.definers)
    ]  # fmt: skip


def _said(policy: Policy, rules: Rules) -> dict[str, Any]:
    """Return a policy for comparison: its tables by the names that clients have, which no contract changes."""
    said = policy.model_dump(exclude={"comment"})
    return {k: _placed(v, rules) if k in ("using", "check") and v is not None else v for k, v in said.items()}


def _placed(text: str, rules: Rules) -> str:
    """Return a definition with every authority's present name replaced by the name that clients have for it."""
    for called in rules.tenancy.tables:
        for now in filter(None, (rules.authority(called),)):
            text = text.replace(f"{now.relation} ", f"<{called}> ").replace(f"{now.relation})", f"<{called}>)")
    for relation in rules.materialised():
        text = text.replace(f"{relation.relation} ", f"<{rules.called(relation)}> ")
        text = text.replace(f"{making.hidden(relation)} ", f"<{rules.called(relation)}> ")
    return text


def home_of(name: str) -> str:
    """Return the name at home of a relation of version 2, or an empty string."""
    schema, _, bare = name.partition(".")
    if schema == "v2":
        return f"public.{bare}"
    return f"{schema.removesuffix('_v2')}.{bare}" if schema.endswith("_v2") else ""
