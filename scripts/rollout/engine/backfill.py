"""Fill columns of a table in chunks, as `backfill` of change.yml declares it."""

from __future__ import annotations

from rollout.engine import chunks
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection
from rollout.engine.rewrite.description import ident, read
from rollout.engine.rewrite.resolve import key_of
from rollout.engine.rewrite.templates import render_bound
from rollout.errors import BadInput


def work(connection: Connection, change: Change) -> chunks.Work:
    """Return the chunked work; raise BadInput when the table, a column or a usable key is not there."""
    declared = change.declaration.backfill
    assert declared is not None
    table = read(connection, declared.schema_name, declared.name)
    if table is None:
        raise BadInput(f"{declared.table} does not exist", next="correct `backfill.table` in change.yml")
    if missing := sorted(set(declared.set) - {c.name for c in table.columns}):
        raise BadInput(
            f"{declared.table} has no column {', '.join(missing)}", next="correct `backfill.set` in change.yml"
        )
    key = key_of(declared, table)
    types = [column.type for k in key for column in table.columns if column.name == k]
    where = declared.where or " OR ".join(f"{ident(c)} IS NULL" for c in declared.set)
    first, further = (
        render_bound(
            "backfill.sql.j2", relation=table.relation, key=key, types=types, set=declared.set, where=where, after=after
        ).encode()
        for after in (False, True)
    )
    return chunks.Work(change.name, f"backfill_{declared.table}", (first, further), relations=[table.relation])
