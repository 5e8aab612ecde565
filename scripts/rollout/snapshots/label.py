"""What a database that we restored says about itself, in its comment: it travels with the database when its name changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from pydantic import BaseModel, ConfigDict, ValidationError

Connection = psycopg.Connection[Any]
COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


class Label(BaseModel):
    """Of which snapshot a database is a copy, of which host, under which name it was made; `compared`: when it was found equal.

    `replaced`: since when it is what the live one was before an exchange, which is then kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rollout: str = "restored"
    snapshot: str = ""
    host: str
    name: str
    compared: datetime | None = None
    replaced: datetime | None = None


def read(connection: Connection, dbname: str) -> Label | None:
    """Return a database's label; None when it is not there, or says something else."""
    row = connection.execute(COMMENT, (dbname,)).fetchone()
    try:
        return Label.model_validate_json(row[0]) if row and row[0] else None
    except ValidationError:
        return None


def write(connection: Connection, dbname: str, label: Label) -> None:
    """Put a label on a database; its owner may."""
    said = sql.Literal(label.model_dump_json(exclude_none=True))
    connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(dbname), said))
