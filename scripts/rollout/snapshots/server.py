"""A connection to a server beside its databases, from which they are renamed and labelled."""

from __future__ import annotations

import psycopg

from rollout.environment import Database
from rollout.errors import Failed
from rollout.snapshots.label import Connection

MAINTENANCE = "postgres"


def administering(database: Database) -> Connection:
    """Return an autocommit connection to the maintenance database of a server; raise Failed when it does not answer."""
    elsewhere = database.model_copy(update={"dbname": MAINTENANCE})
    try:
        return psycopg.connect(elsewhere.conninfo("rollout-restore"), autocommit=True)
    except psycopg.OperationalError as error:
        words = str(error).strip().splitlines()[-1]
        raise Failed(f"{database.host} does not answer: {words}", next="bring it up, then give the same command again") from None
