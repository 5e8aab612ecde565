"""What a change would not carry over from a live database, and publications that it would trip over."""

from __future__ import annotations

from pathlib import Path

from rollout.engine import changes, ledger, renaming
from rollout.engine.rewrite import refusals
from rollout.engine.rewrite.description import read
from rollout.engine.stages import SWAPPED
from rollout.environment import Database

SQL = Path(__file__).parent / "sql"


def check(database: Database) -> tuple[bool, str]:
    """Return whether nothing on a live database would be lost or broken by its tier's changes, and what would be.

    Asked about the relations of changes that have not been swapped here; psycopg's errors are the caller's.
    """
    wrong: list[str] = []
    with ledger.connect(database, "rollout-preflight") as connection:
        plan = changes.plan(database.tier)
        known = ledger.installed(connection)
        stages = {c.name: ledger.stage(connection, c.name) if known else None for c in plan}
        ahead = [c for c in plan if stages[c.name] not in SWAPPED]
        relations = {name for change in ahead for name in change.declaration.relations}
        rows = connection.execute((SQL / "preflight_publications.sql").read_bytes()).fetchall()
        wrong += [str(row["observed"]) for row in rows]
        for change in ahead:
            if change.renames:
                relations |= {f"{t.schema_}.{t.name}" for t in renaming.tables(connection, change)}
                wrong += renaming.refused(connection, change)
            for source in change.declaration.sources:
                table = read(connection, source.schema_name, source.name)
                found = refusals.found(connection, change.declaration, source, table) if table else ["it does not exist"]
                wrong += [f"{source.table}: {what}" for what in found]
    return not wrong, "; ".join(wrong) or f"{len(relations)} relations to be exchanged, nothing in the way"
