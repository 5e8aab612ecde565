"""The references that a database documents: its catalogue is the only list (see sql/<tier>/001_*)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from rollout.errors import Failed

LIST = Path(__file__).parent / "sql" / "documented.sql"
SOURCE = r"\w+(?:->>'\w+')?"
LINE = re.compile(
    r"references oltp\.(?P<table>\w+)\((?P<column>\w+)\) from (?P<source>" + SOURCE + r")"
    r"(?: within (?P<scope>" + SOURCE + r") = (?P<referent_scope>\w+))?; validated by rollout\.references"
)


@dataclass(frozen=True)
class Reference:
    """One documented reference: `source` of schema.relation holds values of `column` of oltp's `table`.

    `scope` and `referent_scope`, both or neither, name what must agree on both sides, mostly the tenant.
    """

    schema: str
    relation: str
    column_name: str
    table: str
    column: str
    source: str
    scope: str | None
    referent_scope: str | None

    @property
    def referent(self) -> str:
        """Return what is referred to, as a person writes it."""
        return f"oltp.{self.table}({self.column})"

    @property
    def qualified(self) -> sql.Identifier:
        """Return the referencing relation."""
        return sql.Identifier(self.schema, self.relation)


def parse(schema: str, relation: str, column_name: str, line: str) -> Reference:
    """Return the reference that a line of a column's comment documents; raise Failed when it cannot be understood."""
    found = LINE.fullmatch(line)
    if found is None:
        raise Failed(
            f"the comment on {schema}.{relation}.{column_name} cannot be read as a reference: {line!r}",
            limit="references oltp.<table>(<column>) from <source>[ within <source> = <column>];"
            " validated by rollout.references",
            next="correct it with rollout.document_reference",
        )
    return Reference(schema, relation, column_name, **found.groupdict())


def references(connection: psycopg.Connection[dict[str, Any]]) -> list[Reference]:
    """Return what this database documents, of each table only the relation that is the authority now."""
    rows = connection.execute(LIST.read_bytes()).fetchall()
    return [parse(row["schema"], row["relation"], row["column_name"], row["line"]) for row in rows]


def expression(source: str) -> sql.Composable:
    """Return the SQL of a source: a column, or a key of a JSON column."""
    column, arrow, key = source.partition("->>")
    if not arrow:
        return sql.Identifier(column)
    return sql.SQL("({} ->> {})").format(sql.Identifier(column), sql.Literal(key.strip("'")))
