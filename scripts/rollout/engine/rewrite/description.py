"""What the catalogue says of one relation, whole: what a successor has to carry, and what stands on it.

Definitions are Postgres' own (`pg_get_*`), with every name qualified; `facts` puts `<self>` in place of the relation's own
name, so that two relations that should be alike are compared as two dicts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from weakref import WeakSet

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from rollout.engine.ledger import Connection

SQL = Path(__file__).with_name("sql") / "description.sql"
_PREPARED: WeakSet[Connection] = WeakSet()


class _Read(BaseModel):
    """Read from the catalogue: what a newer query adds is no error for a plan that an older one stored."""

    model_config = ConfigDict(frozen=True)


class Column(_Read):
    """A column. `exact`: equal under `=` means equal bit for bit; `send`: the function that gives the value's bytes;
    `identity` and `generated` as in pg_attribute."""

    name: str
    number: int
    type: str
    not_null: bool
    default: str | None
    identity: str
    generated: str
    storage: str
    compression: str
    statistics: int | None
    options: list[str] | None
    collation: str | None
    comment: str | None
    acl: list[str] | None
    sequence: str | None
    sequence_grants: list[dict[str, Any]] | None
    exact: bool
    send: str


class Constraint(_Read):
    """A constraint; `columns` is None for one on an expression over no column, `index` names what enforces it."""

    name: str
    type: str
    definition: str
    validated: bool
    deferrable: bool
    deferred: bool
    comment: str | None
    inherited: bool
    index: str | None
    columns: list[str] | None
    references: str | None
    references_self: bool
    referenced: list[str] | None


class Index(_Read):
    """An index; `constraint` names the constraint that it belongs to, `plain` is neither partial nor on an expression;
    one that is `gist` cannot be built as a unique index and bound later."""

    name: str
    definition: str
    unique: bool
    primary: bool
    valid: bool
    immediate: bool
    clustered: bool
    replica: bool
    plain: bool
    gist: bool
    options: list[str] | None
    constraint: str | None
    columns: list[str] | None
    comment: str | None
    statistics: list[list[int]] | None


class Trigger(_Read):
    """A user's trigger; `enabled` is O, D, R or A; `source` the text of its function."""

    name: str
    definition: str
    enabled: str
    function: str
    source: str
    comment: str | None


class Description(_Read):
    """A relation as the catalogue has it; `relation` is its name as definitions have it, qualified and quoted.

    Lists of dicts are what only statements are made of.
    """

    schema_: str
    name: str
    relation: str
    kind: str
    persistence: str
    access_method: str | None
    owner: str
    options: list[str]
    tablespace: str | None
    comment: str | None
    row_security: bool
    force_row_security: bool
    replica_identity: str
    replica_identity_index: str | None
    partition_key: str | None
    is_partition: bool
    inherits: bool
    rows: int
    partitions: list[dict[str, Any]]
    columns: list[Column]
    constraints: list[Constraint]
    indexes: list[Index]
    triggers: list[Trigger]
    policies: list[dict[str, Any]]
    statistics: list[dict[str, Any]]
    publications: list[dict[str, Any]]
    acl: list[str] | None
    grants: list[dict[str, Any]]
    rules: list[str]
    referenced_by: list[dict[str, Any]]
    dependents: list[dict[str, Any]]
    bound: list[str]

    def column(self, name: str) -> Column | None:
        """Return a column by name, or None."""
        return next((c for c in self.columns if c.name == name), None)

    def rebound(self, definition: str, to: str) -> str:
        """Return a definition with this relation's name replaced by another (both qualified and quoted)."""
        return re.sub(rf'(?<![\w."$]){re.escape(self.relation)}(?![\w$"])', lambda _: to, definition)

    def facts(self) -> dict[str, str]:
        """Return everything that two relations which should be alike have to agree in, by what it is."""

        def own(text: str | None) -> str:
            return self.rebound(text or "", "<self>")

        found = {
            "persistence": self.persistence, "access method": self.access_method or "", "owner": self.owner,
            "storage parameters": ", ".join(sorted(self.options)), "comment": self.comment or "",
            "tablespace": self.tablespace or "",
            "row security": f"{self.row_security} force {self.force_row_security}",
            "replica identity": f"{self.replica_identity} {self.replica_identity_index or ''}",
        }  # fmt: skip
        for c in self.columns:
            found[f"column {c.name}"] = (
                f"{c.type} {c.collation} {'not null' if c.not_null else ''} default {_default(c)} identity {c.identity}"
                f" generated {c.generated} storage {c.storage}{c.compression} statistics {c.statistics} {c.options}"
                f" comment {c.comment}"
            )
        for k in self.constraints:
            found[f"constraint {k.name}"] = f"{own(k.definition)} {k.validated} {k.comment}"
        for i in self.indexes:
            found[f"index {i.name}"] = (
                f"{_unqualified(own(i.definition))} {i.valid} {i.clustered} {i.comment} {i.options}"
            )
        for t in self.triggers:
            found[f"trigger {t.name}"] = f"{own(t.definition)} enabled={t.enabled} {t.comment}"
        for p in self.policies:
            found[f"policy {p['name']}"] = own(" ".join(str(v) for v in p.values()))
        for s in self.statistics:
            definition = own(s["definition"]).split(" ON ", 1)[-1]
            found[f"statistics {s['name']}"] = f"{definition} {s['target']} {s['comment']} {_kinds(s['definition'])}"
        for p in self.publications:
            found[f"publication {p['name']}"] = f"{p['where']} {p['columns']}"
        for g in self.grants:
            where = f" on column {g['column']}" if g["column"] else ""
            found[f"privilege {g['privilege']}{where} of {g['grantee']}"] = f"grantable {g['grantable']}"
        return found

    def surroundings(self) -> dict[str, str]:
        """Return what is bound to the relation from outside: views, others' foreign keys, whatever depends on it."""
        found = {f"{d['kind']} {d['name']}": self.rebound(d["definition"], "<self>") for d in self.dependents}
        found |= {
            f"foreign key {k['name']} of {k['table']}": self.rebound(k["definition"], "<self>")
            for k in self.referenced_by
        }
        found |= {f"{what} of {p['name']}": "bound" for p in self.partitions for what in p["own"]}
        return found | dict.fromkeys(self.bound, "bound")


def read(connection: Connection, schema: str, name: str) -> Description | None:
    """Return a table's (or view's) description, or None when there is no such relation.

    A session's first reading plans the query, some 10 ms; later ones, under a lock for instance, only run it.
    """
    with connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog; SET LOCAL plan_cache_mode = force_generic_plan")
        if connection not in _PREPARED:
            # Not psycopg's own: it forgets all of its prepared statements after each DROP.
            connection.execute(b"PREPARE rollout_description (text, text) AS " + SQL.read_bytes())
            _PREPARED.add(connection)
        ask = sql.SQL("EXECUTE rollout_description ({}, {})").format(sql.Literal(schema), sql.Literal(name))
        row = connection.execute(ask).fetchone()
        connection.execute("SET LOCAL search_path TO DEFAULT; SET LOCAL plan_cache_mode TO DEFAULT")
    if row is None:
        return None
    return Description.model_validate(row["description"] | {"schema_": row["description"]["schema"]})


def ident(name: str) -> str:
    """Return a name quoted where Postgres would quote it."""
    return (
        name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in RESERVED else sql.Identifier(name).as_string()
    )


def named(name: str) -> str:
    """Return a name quoted also where PL/pgSQL would take it for a word of its own (`NEW.by`)."""
    return sql.Identifier(name).as_string() if name in PLPGSQL else ident(name)


def split(qualified: str) -> tuple[str, str]:
    """Return schema and name, unquoted, of a qualified name as Postgres writes it."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', qualified)
    schema, name = (p[1:-1].replace('""', '"') if p.startswith('"') else p for p in parts)
    return schema, name


def differences(want: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return a line for each fact that is missing, additional or different."""
    lines = [f"{name} is missing" for name in want if name not in found]
    lines += [f"{name} is additional" for name in found if name not in want]
    lines += [
        f"{name}: {found[name]!r}, not {want[name]!r}" for name in want if name in found and found[name] != want[name]
    ]
    return sorted(lines)


def _default(column: Column) -> str:
    # A successor's identity has a sequence of its own.
    return column.default or ""


def _unqualified(definition: str) -> str:
    return re.sub(r" ON (ONLY )?<self>", " ON <self>", definition)


def _kinds(definition: str) -> str:
    found = re.search(r"\(([a-z_, ]+)\) ON ", definition)
    return found.group(1) if found else ""


# What PL/pgSQL reserves and SQL does not.
PLPGSQL = frozenset("begin by declare execute foreach if loop strict while".split())  # noqa: SIM905

# What quote_ident quotes although it looks plain (key words that are not unreserved), as of Postgres 18.
RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char
    character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do
    else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike
    in initially inner inout int integer intersect interval into is isnull join json json_array json_arrayagg json_exists
    json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least left like
    limit localtime localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset
    on only or order out outer overlaps overlay placing position precision primary real references returning right row select
    session_user setof similar smallint some substring symmetric system_user table tablesample then time timestamp to trailing
    treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable""".split()  # noqa: SIM905
)
