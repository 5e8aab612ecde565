"""What the changes of a tier meet in a live database: where each stands, what it would lock, how much there is, what refuses it.

Only reads, in a session that cannot write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rollout.engine import auditing, changes, ledger, renaming
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE
from rollout.engine.changes import Change
from rollout.engine.declaration import Source
from rollout.engine.ledger import Connection
from rollout.engine.rewrite import refusals, resolve
from rollout.engine.rewrite.description import Description, differences, ident, read
from rollout.engine.rewrite.shape import Shape, versioned
from rollout.engine.rewrite.statements import Statements
from rollout.engine.security import refusals as security
from rollout.engine.security import rules
from rollout.environment import Database, Environment
from rollout.errors import BadInput, Refused, RolloutError

SIZE = (Path(__file__).with_name("sql") / "size.sql").read_bytes()
CONTRACT = ("contracting", "contracted")
FIRST = 5


@dataclass
class Ahead:
    """One change in one database.

    `expand` and `swap`: what these stages lock, by mode, empty when they have been; `tables`: rows (None: never analysed)
    and bytes of what it is about, by name; `refused`: what would keep it from being expanded, or swapped, now.
    """

    change: str
    kind: str
    stage: str | None
    expand: dict[str, list[str]] = field(default_factory=dict)
    swap: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, dict[str, int | None]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def of(environment: Environment, tiers: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each live database of the tiers, its host, tier and changes, or the error that it answers with."""
    return [_database(d) for d in environment.databases if d.host_set == "live" and d.tier in tiers]


def look(connection: Connection, change: Change) -> Ahead:
    """Return what one change meets here."""
    known = ledger.installed(connection)
    found = Ahead(change.name, change.declaration.kind, ledger.stage(connection, change.name) if known else None)
    if found.stage in CONTRACT:
        return found
    if change.renames:
        _rename(connection, change, found)
    elif change.secures:
        _security(connection, change, found)
    elif not change.rewrites:
        _files(connection, change, found)
    elif found.stage is None:
        _rewrite(connection, change, found)
    else:
        _expanded(connection, change, found)
    # Half made, only what goes on part by part has to be as it was.
    made = found.stage not in (None, "swapped", "expanding") or (found.stage == "expanding" and change.declaration.kind == "ddl")
    if made and _edited(connection, change):
        found.refused.append("its files changed since it was expanded here")
    return found


def _database(database: Database) -> dict[str, Any]:
    told: dict[str, Any] = {"host": database.host, "tier": database.tier, "changes": []}
    try:
        with ledger.connect(database, "rollout-plan") as connection:
            connection.execute("SET default_transaction_read_only = on")
            told["changes"] = [asdict(look(connection, change)) for change in changes.plan(database.tier)]
    except RolloutError as error:
        told["error"] = error.observed
    return told


def _files(connection: Connection, change: Change, found: Ahead) -> None:
    """Of a change that is its files: what change.yml says that they lock."""
    declared = change.declaration
    tables = [declared.backfill.table] if declared.backfill else []
    if declared.kind == "audit":
        _audit(connection, change, found)
        return
    if found.stage is None and declared.kind != "ddl":
        found.expand = _locks(SHARE_ROW_EXCLUSIVE, declared.locks.expand)
    if change.swaps and found.stage != "swapped":
        found.swap = _locks(ACCESS_EXCLUSIVE, declared.locks.swap)
    for name in [*tables, *declared.locks.expand, *declared.locks.swap]:
        _measure(connection, name, _quoted(name) if name in tables else name, found)


def _audit(connection: Connection, change: Change, found: Ahead) -> None:
    """Of an audit: the relations that get triggers, locked one at a time."""
    for one, table in auditing.authorities(connection, change):
        if table is None:
            found.refused.append(f"{one.table} does not exist")
            continue
        _measure(connection, one.table, table.relation, found)
        if found.stage != "swapped":
            found.swap.setdefault(SHARE_ROW_EXCLUSIVE, []).append(table.relation)


def _rename(connection: Connection, change: Change, found: Ahead) -> None:
    """Of a rename: every table that it would exchange, each locked in a transaction of its own."""
    if found.stage == "swapped":
        return
    found.refused += renaming.refused(connection, change)
    tables = renaming.tables(connection, change)
    for table in tables:
        _measure(connection, f"{table.schema_}.{table.name}", table.relation, found)
    found.swap = _locks(ACCESS_EXCLUSIVE, [table.relation for table in tables])


def _security(connection: Connection, change: Change, found: Ahead) -> None:
    """Of row security: what it would lock, one at a time, and who or what is in its way."""
    here = rules.of(connection, change)
    if found.stage != "swapped":
        found.swap = _locks(ACCESS_EXCLUSIVE, [table.relation for table in here.covered()])
    asks = (security.roles, security.sessions, lambda _, here: security.undeclared(here))
    for ask in asks if found.stage != "swapped" else ():
        try:
            ask(connection, here)
        except Refused as error:
            found.refused.append(error.observed.removeprefix(f"{change.name}: "))


def _rewrite(connection: Connection, change: Change, found: Ahead) -> None:
    """Of a rewrite that is not expanded: what the catalogue says of its sources."""
    declared = change.declaration
    tables: list[Description] = []
    for source in declared.sources:
        table = read(connection, source.schema_name, source.name)
        if table is None:
            found.refused.append(f"{source.table} does not exist")
            continue
        tables.append(table)
        _measure(connection, source.table, table.relation, found)
        found.refused += [f"{source.table}: {what}" for what in _refused(connection, change, source, table)]
    first = declared.sources[0]
    schema, name = versioned(first.schema_name, "v2"), declared.target.name or first.name
    shadow = f"{ident(schema)}.{ident(name)}"
    if read(connection, schema, name):
        found.refused.append(f"{shadow} exists and is no shadow of {change.name}")
    sources = [table.relation for table in tables]
    keys = [k for t in tables[:1] for k in t.constraints if k.type == "f" and not k.references_self]
    referenced = [str(k.references) for k in keys if k.name not in declared.leave]
    children = [str(k["table"]) for table in tables for k in table.referenced_by]
    found.expand = _locks(SHARE_ROW_EXCLUSIVE, [*sources, *referenced, *declared.locks.expand])
    found.swap = _locks(ACCESS_EXCLUSIVE, [*sources, shadow, *children, *declared.locks.swap])


def _refused(connection: Connection, change: Change, source: Source, table: Description) -> list[str]:
    wrong = refusals.found(connection, change.declaration, source, table)
    for ask in (resolve.key_of, resolve.renames):
        try:
            ask(source, table)
        except BadInput as error:
            wrong.append(error.observed.removeprefix(f"{source.table}: "))
    return wrong


def _expanded(connection: Connection, change: Change, found: Ahead) -> None:
    """Of a rewrite whose shadow is made: what its shape says, and whether the sources are still what they were."""
    stored = ledger.shape(connection, change.name)
    if stored is None:
        found.refused.append("the ledger holds no shape of it")
        return
    statements = Statements(Shape.model_validate(stored))
    shape = statements.shape
    _measure(connection, shape.target, shape.target, found)
    if found.stage == "swapped":
        return
    for side in shape.sides:
        _measure(connection, side.source_name, side.relation, found)
        table = read(connection, side.schema_, side.name)
        now = table.facts() | table.surroundings() if table else {}
        changed = differences(side.as_found, now)[:FIRST]
        found.refused += [f"{side.source_name} is not as it was found: {what}" for what in changed]
    locks = change.declaration.locks.swap
    found.swap = _locks(ACCESS_EXCLUSIVE, [*statements.authorities(), shape.target, *statements.children(), *locks])


def _edited(connection: Connection, change: Change) -> bool:
    row = connection.execute("SELECT sha256 FROM rollout.changes WHERE change = %s", (change.name,)).fetchone()
    return bool(row and row["sha256"] != change.sha256)


def _measure(connection: Connection, name: str, relation: str, found: Ahead) -> None:
    row = connection.execute(SIZE, {"relation": relation}).fetchone()
    if row and row["bytes"] is not None:
        found.tables[name] = {"rows": row["rows"], "bytes": int(row["bytes"])}


def _locks(mode: str, relations: Sequence[str]) -> dict[str, list[str]]:
    return {mode: list(dict.fromkeys(relations))} if relations else {}


def _quoted(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{ident(schema)}.{ident(name)}"
