"""The rules of a tier, applied to what stands in one database: which table a relation stands for, and its predicate."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from rollout.engine import changes, ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection
from rollout.engine.rewrite.carry import literal
from rollout.engine.rewrite.description import ident
from rollout.engine.rewrite.shape import Shape
from rollout.engine.security import catalogue
from rollout.engine.security.catalogue import Relation
from rollout.engine.security.model import RowSecurity, Rule, Tenancy, Through, Withheld
from rollout.errors import BadInput, Refused

HIDDEN = "_all"  # a materialised view's name, once a filtering view has the one that clients know
TEXTS = ("text", "character varying", "character")
PAGE = "runbooks/row-security.md"


@dataclass
class Rules:
    """Whose rows stand where. `relations`: by their qualified, quoted names, as the catalogue had them when asked."""

    change: str
    security: RowSecurity
    tenancy: Tenancy
    relations: dict[str, Relation]
    shapes: list[Shape] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        """The tenant that is set, as uuid: asked once a query, because it is a subquery; NULL when none is set."""
        return f"(SELECT nullif(current_setting({literal(self.security.setting)}, true), '')::uuid)"

    @property
    def tenant_text(self) -> str:
        """The same as text, in the one spelling that uuids have."""
        return f"(SELECT nullif(current_setting({literal(self.security.setting)}, true), '')::uuid::text)"

    def roles(self, *scopes: str) -> list[str]:
        """Return the roles of some scopes."""
        return [role for role, scope in self.security.roles.items() if scope in scopes]

    def called(self, relation: Relation) -> str:
        """Return the name that clients have for what a relation is, or is a part, a version or a view of."""
        schema, name = relation.root_schema or relation.schema_, relation.root_name or relation.name
        if relation.kind == "m" and name.endswith(HIDDEN):
            name = name.removesuffix(HIDDEN)
        return f"{_unversioned(schema)}.{name}"

    def rule(self, relation: Relation) -> Rule | None:
        """Return the rule of the table that a relation stands for, or None."""
        return self.tenancy.tables.get(self.called(relation))

    def withheld(self, relation: Relation) -> Withheld | None:
        """Return who alone may read a relation of tenants' rows that no tenant sees, or None."""
        called = self.called(relation)
        return next((held for name, held in self.tenancy.withheld.items() if fnmatchcase(called, name)), None)

    def shared(self, relation: Relation) -> str:
        """Return why a relation is not multi-tenant, or an empty string."""
        if relation.extension:
            return f"it belongs to the extension {relation.extension}"
        return self.tenancy.shared.get(self.called(relation), "")

    def undeclared(self) -> list[str]:
        """Return the tables that are neither declared nor shared, views of either kind aside, by name."""
        return [
            r.relation for r in self.relations.values()
            if (r.is_table or r.kind in ("f", "m")) and not self.rule(r) and not self.withheld(r) and not self.shared(r)
        ]  # fmt: skip

    def authority(self, called: str) -> Relation | None:
        """Return the table that holds the rows of a client's name now."""
        schema, _, name = called.partition(".")
        at_home = self.relations.get(f"{ident(schema)}.{ident(name)}")
        if at_home and at_home.is_table:
            return at_home
        target = next((s.target for s in self.shapes for side in s.sides if side.source_name == called), "")
        version = "v2" if schema == "public" else f"{schema}_v2"
        return self.relations.get(target) or self.relations.get(f"{ident(version)}.{ident(name)}")

    def covered(self) -> list[Relation]:
        """Return every table that gets policies: parents before their children, and roots before their partitions."""
        order = list(self.tenancy.tables)
        found = [r for r in self.relations.values() if r.is_table and self.rule(r)]
        return sorted(found, key=lambda r: (order.index(self.called(r)), r.is_partition, r.relation))

    def materialised(self) -> list[Relation]:
        """Return every materialised view that shows tenants' rows."""
        return [r for r in self.relations.values() if r.kind == "m" and self.rule(r)]

    def predicate(self, relation: Relation, alias: str = "") -> str:
        """Return the SQL that tells, in a policy (or under an alias), whether a row belongs to the tenant that is set."""
        rule = self.rule(relation)
        assert rule
        return self._of(rule, relation, alias or relation.name, 1)

    def merged(self, relation: Relation) -> bool:
        """Return whether two old names share a table now, so that an insert under one may replace what the other has."""
        return any(s.merged and s.target == relation.relation for s in self.shapes)

    def insertable(self, relation: Relation) -> str:
        """Return the SQL that lets a row be written although it is not the tenant's yet, or an empty string."""
        rule = self.rule(relation)
        return rule.insert.replace("{tenant}", self.tenant) if rule else ""

    def leading(self, relation: Relation) -> list[str]:
        """Return the columns of a relation that predicates look rows up by: its tenant's, and as a parent its keys."""
        rule = self.rule(relation)
        wanted = [self.column(relation, rule.tenant) or ""] if rule and rule.tenant else []
        throughs = [t.through for t in self.tenancy.tables.values() if t.through]
        wanted += [self.column(relation, t.key) or "" for t in throughs if t.parent == self.called(relation)]
        return [column for column in dict.fromkeys(wanted) if column]

    def column(self, relation: Relation, name: str) -> str | None:
        """Return what a relation calls a column: an old table may have it under its old name."""
        if name in relation.columns:
            return name
        for side in (side for shape in self.shapes for side in shape.sides if side.source_name == self.called(relation)):
            for old, expression in side.face.items():
                if expression == ident(name) and old in relation.columns:
                    return old
        return None

    def _of(self, rule: Rule, relation: Relation, alias: str, depth: int) -> str:
        if rule.through:
            return self._through(rule.through, relation, alias, depth)
        column = self.column(relation, rule.tenant) if rule.tenant else None
        if column is None:
            if not rule.expression:
                raise Refused(f"{relation.relation} has no column {rule.tenant}", next=f"correct the tenancy of {self.change}",
                              page=PAGE)  # fmt: skip
            expression = rule.expression if depth == 1 else f"(SELECT {rule.expression} FROM (SELECT {ident(alias)}.*) AS s)"
            return f"({expression}) = {self.tenant_text}"
        return f"{ident(alias)}.{ident(column)} = {self._as(relation, column)}"

    def _through(self, through: Through, relation: Relation, alias: str, depth: int) -> str:
        parent = self.authority(through.parent)
        rule = self.tenancy.tables.get(through.parent)
        if parent is None or rule is None:
            raise Refused(
                f"{relation.relation} belongs to whom {through.parent} says, and that "
                + ("is not declared" if parent else "does not exist"),
                next=f"correct the tenancy of {self.change}", page=PAGE,
            )  # fmt: skip
        other, key = f"parent_{depth}", self.column(parent, through.key)
        if key is None:
            raise Refused(f"{parent.relation} has no column {through.key}", next=f"correct the tenancy of {self.change}",
                          page=PAGE)  # fmt: skip
        mine = self._named(relation, through.column, alias)
        # The parent's tenant is asked here and not left to the parent's own policies, which a later change may loosen.
        theirs = self._of(rule, parent, other, depth + 1)
        return f"EXISTS (SELECT FROM {parent.relation} AS {other} WHERE {other}.{ident(key)} = {mine} AND {theirs})"

    def _named(self, relation: Relation, name: str, alias: str) -> str:
        column = self.column(relation, name)
        if column is None:
            raise Refused(f"{relation.relation} has no column {name}", next=f"correct the tenancy of {self.change}", page=PAGE)
        return f"{ident(alias)}.{ident(column)}"

    def _as(self, relation: Relation, column: str) -> str:
        kind = relation.columns[column]
        if kind == "uuid":
            return self.tenant
        if kind in TEXTS:
            return self.tenant_text
        raise Refused(f"{relation.relation}.{column} is {kind}", limit="uuid, text or varchar",
                      next=f"give {self.called(relation)} an expression", page=PAGE)  # fmt: skip


def of(connection: Connection, change: Change) -> Rules:
    """Return the rules of a change over what stands here; raise BadInput when two changes say different things of a relation."""
    security = change.declaration.row_security
    assert security
    stored = connection.execute("SELECT shape FROM rollout.shapes").fetchall() if ledger.installed(connection) else []
    shapes = [Shape.model_validate(row["shape"]) for row in stored]
    relations = {r.relation: r for r in catalogue.read(connection)}
    return Rules(change.name, security, tenancy(change), relations, shapes)


def tenancy(change: Change) -> Tenancy:
    """Return what all changes of a change's tier say together; a change that is not in its plan says only its own."""
    plan = changes.plan(change.tier) if change.folder.parent == changes.SQL / change.tier else []
    said: dict[str, dict[str, Any]] = {"tables": {}, "withheld": {}, "shared": {}, "definers": {}}
    for one in plan if change.name in {c.name for c in plan} else [change]:
        for what, of_one in said.items():
            for name, value in getattr(one.declaration.tenancy, what).items():
                if of_one.setdefault(name, value) != value:
                    raise BadInput(f"{one.name} says of {name} what another change says differently", next="say it once")
    for here, there in combinations(("tables", "withheld", "shared"), 2):
        if both := sorted(set(said[here]) & set(said[there])):
            raise BadInput(f"{', '.join(both)} stands under tenancy.{here} and tenancy.{there}", next="say one of them")
    return Tenancy.model_validate(said)


def securing(tier: str) -> Change | None:
    """Return the change of a tier's plan that switches row security on, or None."""
    return next((change for change in changes.plan(tier) if change.secures), None)


def _unversioned(schema: str) -> str:
    if schema in ("v1", "v2"):
        return "public"
    return schema[:-3] if schema.endswith(("_v1", "_v2")) else schema
