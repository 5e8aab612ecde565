"""The census before finalize: who is connected that may use the names that contract drops."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rollout.engine import changes, ledger, renaming
from rollout.environment import Database
from rollout.errors import Refused
from rollout.road.context import Context, Facts, step

SQL = Path(__file__).parents[1] / "sql" / "census.sql"


@step("census")
def census(context: Context, host: str) -> Facts:
    """Refuse while a session is connected that is not of the new release and may use the old names."""
    database = context.environment.database(host)
    settings = context.environment.settings
    deadline = time.monotonic() + settings.drain_timeout_seconds
    names = [name.format(release=settings.release_after) for name in settings.release_application_names]
    while rows := foreign(database, names):
        if time.monotonic() > deadline:
            who = ", ".join(f"{r['sessions']} of {r['role']} as {r['name'] or 'an unnamed client'}" for r in rows)
            raise Refused(
                f"{host}: sessions that may use the old names: {who}",
                limit="0",
                next="stop these clients, then invoke finalize; or invoke rollback, which starts blue again",
                page="runbooks/deploy.md#census",
            )
        time.sleep(0.2)
    return {"changed": False, "say": "no session of the old release"}


def foreign(database: Database, names: list[str]) -> list[dict[str, Any]]:
    """Return the sessions, by role and name, whose name is none of `names` and that may use a relation that contract replaces.

    Of the application's roles every session counts but those that call themselves exactly so.
    """
    plan = changes.plan(database.tier)
    relations = [name for change in plan for name in change.declaration.relations]
    with ledger.connect(database) as connection:
        for change in [c for c in plan if c.renames and ledger.installed(connection)]:
            relations += [table.old for table in renaming.exchanged(connection, change.name)]
        values = {"app_roles": database.app_roles, "names": names, "relations": relations}
        return connection.execute(SQL.read_bytes(), values).fetchall()
