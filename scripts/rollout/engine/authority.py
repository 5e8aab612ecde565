"""Which relation has a name's rows at the moment: itself, or what stands behind the view that a swap left for old clients."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.engine.companion import statement
from rollout.engine.ledger import Connection
from rollout.engine.rewrite.description import ident
from rollout.errors import Refused


@dataclass(frozen=True)
class Authority:
    """A relation that has authority. `relation`: qualified and quoted; `columns`: name to type; `key`: its primary key's columns.

    `enabled`: of the trigger that was asked for, as in pg_trigger; None when it is not there.
    """

    oid: int
    relation: str
    name: str
    columns: dict[str, str]
    key: list[str]
    enabled: str | None


def find(connection: Connection, table: str, trigger: str = "") -> Authority | None:
    """Return the authority behind `schema.name` (unquoted), or None when nothing has the name.

    Raises Refused when several tables stand behind one view: which of them is written is then not the catalogue's to say.
    """
    schema, _, name = table.partition(".")
    values = {"name": f"{ident(schema)}.{ident(name)}", "trigger": trigger}
    rows = connection.execute(statement("authority"), values).fetchall()
    if len(rows) > 1:
        raise Refused(
            f"{table} is a view over {', '.join(row['relation'] for row in rows)}", limit="one table",
            next="name the table itself in change.yml",
        )  # fmt: skip
    return Authority(**rows[0]) if rows else None

