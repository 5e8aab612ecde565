"""What the catalogue says of every relation of a database, as far as row security goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rollout.engine.ledger import Connection

SQL = Path(__file__).parent / "sql"
TABLES = ("r", "p")
COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialised view", "f": "foreign table"}


class Policy(BaseModel):
    """A policy as pg_policy has it: `command` one letter of r, a, w, d, *; expressions with every schema named."""

    model_config = ConfigDict(frozen=True)

    name: str
    permissive: bool
    command: str
    roles: list[str]
    using: str | None
    check: str | None
    comment: str | None = None


class Relation(BaseModel):
    """A relation. `relation`: qualified and quoted; `root_*`: the partitioned table that a partition belongs to at the top;
    `columns`: name to type; `indexed`: columns that lead a valid index over all rows;
    `guarded`: no insert takes the place of another tenant's row."""

    model_config = ConfigDict(frozen=True)

    schema_: str
    name: str
    kind: str
    relation: str
    owner: str
    enabled: bool
    forced: bool
    options: list[str]
    is_partition: bool
    comment: str | None
    root_schema: str | None
    root_name: str | None
    extension: str | None
    columns: dict[str, str]
    column_order: list[str]
    policies: list[Policy]
    grants: list[dict[str, Any]]
    indexed: list[str]
    guarded: bool
    definition: str | None

    @property
    def is_table(self) -> bool:
        """Whether it is a table, partitioned or not, that row security can be put on."""
        return self.kind in TABLES

    @property
    def says(self) -> str:
        """What people call its kind."""
        return "partition" if self.is_partition else KINDS[self.kind]

    def option(self, name: str) -> bool:
        """Return whether a boolean option of a view is on."""
        value = next((o.partition("=")[2] for o in self.options if o.partition("=")[0] == name), "false")
        return value.lower() in ("true", "on", "1", "yes")


def read(connection: Connection) -> list[Relation]:
    """Return every relation outside Postgres' own schemas and the ledger's."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog")
        rows = connection.execute((SQL / "relations.sql").read_bytes()).fetchall()
        connection.execute("SET LOCAL search_path TO DEFAULT")
    return [Relation.model_validate({**row, "schema_": row["schema"]}) for row in rows]


def policies(connection: Connection, relation: str) -> list[Policy]:
    """Return the policies of one relation: quickly, for it is asked under a lock."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog")
        rows = ask(connection, "policies", relation=relation)
        connection.execute("SET LOCAL search_path TO DEFAULT")
    return [Policy.model_validate(row) for row in rows]


def definition(connection: Connection, view: str) -> str:
    """Return the query of one view."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog")
        row = connection.execute("SELECT pg_get_viewdef(%s::regclass) AS said", (view,)).fetchone()
        connection.execute("SET LOCAL search_path TO DEFAULT")
    return str(row["said"]) if row else ""


def ask(connection: Connection, name: str, **values: Any) -> list[dict[str, Any]]:
    """Return the rows of `sql/<name>.sql`."""
    return connection.execute((SQL / f"{name}.sql").read_bytes(), values).fetchall()
