"""A table whose columns get other names, as statements: to the new schema behind a view with the old names, back, and home.

The table stays what it is, row by row and object by object: everything that is bound to it is bound by its identity and rides
along (keys, foreign keys both ways, triggers, policies, sequences, statistics, publications, views). Only names change.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from rollout.engine.companion import statement
from rollout.engine.declaration import Declaration
from rollout.engine.ledger import Connection
from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import Description, Trigger, ident
from rollout.engine.rewrite.shape import versioned
from rollout.engine.rewrite.templates import render

# What a view has no use for; it stays on the table.
OF_TABLES = ("TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
ADDED = "not recorded before this column was added: null for older rows"


class Renamed(BaseModel):
    """One table, as it was changed: old column to new one, columns that were added. Names are unquoted."""

    model_config = ConfigDict(frozen=True)

    schema_: str
    new_schema: str
    name: str
    columns: dict[str, str]
    added: dict[str, str]

    @property
    def old(self) -> str:
        """The name as found, for SQL: a table before the swap and after contract, the view between."""
        return f"{ident(self.schema_)}.{ident(self.name)}"

    @property
    def new(self) -> str:
        """The table's name while it is swapped, for SQL."""
        return f"{ident(self.new_schema)}.{ident(self.name)}"

    def swap(self, table: Description) -> list[str]:
        """Return what moves the table, renames and adds its columns, and puts the view in its place.

        `table`: its description from before, under the lock.
        """
        made = [f"ALTER TABLE {self.old} SET SCHEMA {ident(self.new_schema)}"]
        made += [f"ALTER TABLE {self.new} RENAME COLUMN {ident(o)} TO {ident(n)}" for o, n in self.columns.items()]
        for name, definition in self.added.items():
            # The default comes after the column: of rows that are there already nobody knows the value, and none is written.
            made += [
                f"ALTER TABLE {self.new} ADD COLUMN {ident(name)} {kind(definition)}",
                *([f"ALTER TABLE {self.new} ALTER COLUMN {ident(name)} SET DEFAULT {d}"] if (d := default(definition)) else []),
                f"COMMENT ON COLUMN {self.new}.{ident(name)} IS {carry.literal(ADDED)}",
            ]
        shown = ", ".join(
            f"{ident(n)} AS {ident(c.name)}" if (n := self.columns.get(c.name)) else ident(c.name) for c in table.columns
        )
        view = "CREATE VIEW {} WITH (security_invoker = true) AS SELECT {} FROM {}"
        made.append(view.format(self.old, shown, self.new))
        if table.comment:
            made.append(f"COMMENT ON VIEW {self.old} IS {carry.literal(table.comment)}")
        made += [
            f"COMMENT ON COLUMN {self.old}.{ident(c.name)} IS {carry.literal(c.comment)}" for c in table.columns if c.comment
        ]
        return [*made, *self._privileges(table)]

    def revert(self) -> list[str]:
        """Return the swap, the other way."""
        made = [f"DROP VIEW {self.old}"]
        made += [f"ALTER TABLE {self.new} DROP COLUMN {ident(name)}" for name in self.added]
        made += [f"ALTER TABLE {self.new} RENAME COLUMN {ident(n)} TO {ident(o)}" for o, n in self.columns.items()]
        return [*made, f"ALTER TABLE {self.new} SET SCHEMA {ident(self.schema_)}"]

    def contract(self) -> list[str]:
        """Return what ends the old names: the table comes home with the new ones."""
        return [f"DROP VIEW {self.old}", f"ALTER TABLE {self.new} SET SCHEMA {ident(self.schema_)}"]

    def _privileges(self, table: Description) -> list[str]:
        """Give the view what clients have on the table; first take what the schema's default privileges gave it."""
        made = [render("revoke_all.sql.j2", relation=self.old)]
        for g in table.grants:
            if g["privilege"] not in OF_TABLES:
                on = f" ({ident(g['column'])})" if g["column"] else ""
                option = " WITH GRANT OPTION" if g["grantable"] else ""
                made.append(f"GRANT {g['privilege']}{on} ON {self.old} TO {g['grantee']}{option}")
        return made


def of(declaration: Declaration, table: Description) -> Renamed:
    """Return how a table as found would be changed."""
    known = {c.name for c in table.columns}
    columns = {old: new for old, new in declaration.rename.items() if old in known}
    added = {n: d for o, n in declaration.rename.items() if o not in known and (d := declaration.add.get(n))}
    return Renamed(
        schema_=table.schema_, new_schema=versioned(table.schema_, "v2"), name=table.name, columns=columns, added=added
    )


def kind(definition: str) -> str:
    """Return the type of a definition `type [DEFAULT expression]`."""
    return re.split(r"\sdefault\s", definition, maxsplit=1, flags=re.IGNORECASE)[0]


def default(definition: str) -> str:
    """Return the default of a definition, or nothing. It is for new rows: of older ones nobody knows the value."""
    return (*re.split(r"\sdefault\s", definition, maxsplit=1, flags=re.IGNORECASE), "")[1]


def refusals(connection: Connection, declaration: Declaration, table: Description) -> list[str]:
    """Return a line for each thing about a table that would break on the way, or not be what it was to old clients."""
    leave, to = set(declaration.leave), of(declaration, table)
    wrong = [] if table.kind == "r" else [f"it is a relation of kind {table.kind}, and not an ordinary table"]
    if table.inherits or table.is_partition:
        wrong.append("it inherits, or is inherited from")
    wrong += [f"rule {rule} on it" for rule in table.rules]
    wrong += [f"{d['kind']} {d['name']} (rule {d['rule']})" for d in table.dependents if d["kind"] == "rule"]
    wrong += [f"constraint {k.name} is there already" for k in table.constraints
              if k.name in {c.name for c in declaration.constraints if c.table == f"{table.schema_}.{table.name}"}]  # fmt: skip
    wrong += [f"it has a column {n} already" for n in (*to.columns.values(), *to.added) if table.column(n)]
    wrong += [
        f"trigger {t.name}: its function {t.function} says {', '.join(names)}, which change"
        for t in table.triggers
        if t.name not in leave and (names := _said(t, to))
    ]
    found = connection.execute(statement("rename_bound"), {"relation": table.relation}).fetchall()
    row: dict[str, Any] | None = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL AS taken, pg_has_role(%s, 'USAGE') AS owned", (to.new, table.owner)
    ).fetchone()
    if row and row["taken"]:
        wrong.append(f"{to.new} exists")
    if row and not row["owned"]:
        wrong.append(f"it belongs to {table.owner}, and the runner is no member of that role")
    return [*wrong, *(str(r["what"]) for r in found)]


def _said(trigger: Trigger, to: Renamed) -> list[str]:
    """Return the renamed columns that a trigger's function says, or gets as an argument: those are text and do not follow."""
    # Between the marks stand names that the function looks up and can do without: the audit trail's (audit_record.sql.j2).
    source = re.sub(r"/\* names that may go \*/.*?/\* to here \*/", "", trigger.source or "", flags=re.DOTALL)
    text = f"{source} {trigger.definition.split(' EXECUTE ', 1)[-1]}"
    return sorted(c for c in to.columns if re.search(rf"\b{re.escape(c)}\b", text, re.IGNORECASE))

