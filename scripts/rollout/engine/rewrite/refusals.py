"""What a rewrite cannot carry, by name: asked before anything is written."""

from __future__ import annotations

import re
from typing import Any

from rollout.engine.declaration import Declaration, Source
from rollout.engine.ledger import Connection
from rollout.engine.rewrite import views
from rollout.engine.rewrite.description import Description

NOT_VALID_OF_PARTITIONED = 180000  # the first version in which a partitioned table's foreign key may be NOT VALID
# Roles that a view over the table would refuse what the table allows: it asks for SELECT on all of its columns.
HALF = """
SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee)::text END AS role
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL aclexplode(array_cat(c.relacl, a.attacl)) AS g
WHERE c.oid = %(oid)s::regclass AND g.privilege_type IN ('SELECT', 'UPDATE', 'DELETE') AND g.grantee <> c.relowner
    AND EXISTS (
        SELECT FROM pg_attribute AS o
        WHERE o.attrelid = c.oid AND o.attnum > 0 AND NOT o.attisdropped AND NOT has_column_privilege(
            CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END, c.oid, o.attnum, 'SELECT'
        )
    )
ORDER BY 1
"""
KEY_WORDS = "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')"
BYPASSES = "SELECT rolbypassrls OR rolsuper AS bypasses FROM pg_roles WHERE rolname = current_user"


def found(connection: Connection, declaration: Declaration, source: Source, table: Description) -> list[str]:
    """Return a line for each thing about a source table that its successor would lose or that would break on the way."""
    leave = set(declaration.leave)
    wrong = [f"it is a {_kind(table)}"] if table.kind not in ("r", "p") else []
    if table.is_partition:
        wrong.append("it is a partition of another table: rewrite that one")
    if table.inherits:
        wrong.append("it inherits, or is inherited from")
    if table.persistence == "t":
        wrong.append("it is temporary")
    wrong += [f"rule {rule} on it" for rule in table.rules]
    wrong += [f"{d['kind']} {d['name']} (rule {d['rule']})" for d in table.dependents if d["kind"] == "rule"]
    # Not carried: it has no CREATE OR REPLACE, and one made beside it on the target would hold what it held at expand (or keep
    # the swap waiting for a REFRESH), and the old one, after a revert, what it held at the swap: clients would go back in time.
    wrong += [
        f"materialised view {d['name']} (drop it first, or name it in leave: it reads the old table, and contract.sql drops it)"
        for d in table.dependents
        if d["kind"] == "materialised view" and d["name"] not in leave
    ]
    # Functions with BEGIN ATOMIC among them: bound like views, they could be defined anew like views; nothing tries yet whether
    # their statements can be said of a view (ON CONFLICT ON CONSTRAINT cannot), and the swap's lock is no place to learn it.
    wrong += [f"{what} is bound to it" for what in table.bound]
    wrong += [
        f"constraint {k.name} asks for the current user, which is the owner of the sync when that writes"
        for k in table.constraints
        if k.name not in leave and re.search(r"\b(CURRENT_USER|CURRENT_ROLE)\b", k.definition)
    ]
    wrong += [
        f"foreign key {name} over a PERIOD"
        for name, definition in [
            *((k.name, k.definition) for k in table.constraints),
            *((k["name"], k["definition"]) for k in table.referenced_by),
        ]
        if re.match(r"FOREIGN KEY \(.*\bPERIOD ", definition) and name not in leave
    ]
    wrong += [
        f"{row['role']} may not read all of its columns, which the view under the old name asks of whoever uses it"
        for row in connection.execute(HALF, {"oid": table.relation}).fetchall()
        if row["role"] not in leave
    ]
    wrong += _partitions(connection, table, leave) + _views(connection, table, leave)
    row = connection.execute(BYPASSES).fetchone()
    if table.force_row_security and not (row and row["bypasses"]):
        wrong.append(
            "FORCE ROW LEVEL SECURITY, and the runner's role lacks BYPASSRLS: it would copy only what policies show"
        )
    changed = {
        *source.rename,
        *declaration.target.drop,
        *(set(declaration.target.columns) & {c.name for c in table.columns}),
    }
    wrong += [
        f"view {d['name']} reads {', '.join(sorted(changed & set(d['columns'] or [])))}, which change"
        for d in table.dependents
        if d["kind"] == "view" and d["name"] not in leave and changed & set(d["columns"] or [])
    ]
    reserved = {row["word"] for row in connection.execute(KEY_WORDS).fetchall()} if table.triggers else set()
    for trigger in table.triggers:
        names = sorted(c for c in changed if _written(trigger.source, c, reserved))
        if names and trigger.name not in leave:
            wrong.append(
                f"trigger {trigger.name}: its function {trigger.function} says {', '.join(names)}, which change"
            )
    wrong += [
        f"constraint {k.name} refers to the table itself ON DELETE RESTRICT: a key that moves would break it on the shadow"
        for k in table.constraints
        if k.references_self and "ON DELETE RESTRICT" in k.definition and k.name not in leave
    ]
    wrong += _unique(declaration, source, table)
    ends = {*declaration.target.drop, *declaration.target.columns}
    retyped = {c.name for c in table.columns if source.rename.get(c.name, c.name) in ends}
    wrong += [
        f"trigger {t.name} is defined over {', '.join(names)}, which get another type or end"
        for t in table.triggers
        if t.name not in leave and (names := sorted(c for c in retyped if _says(t.definition, c)))
    ]
    partition = declaration.target.partition
    by = partition.columns if partition else [c for c in retyped if _says(table.partition_key or "", c)]
    if names := sorted(retyped & set(by)):
        wrong.append(f"it is partitioned by {', '.join(names)}, which get another type or end")
    if declaration.target.name not in ("", table.name):
        wrong += [
            f"view {d['name']}: it cannot be bound to a target of another name"
            for d in table.dependents
            if d["kind"] == "view" and d["name"] not in leave
        ]
    for publication in table.publications:
        wrong += _publication(publication, changed, leave)
    return wrong


def _unique(declaration: Declaration, source: Source, table: Description) -> list[str]:
    """Return the unique indexes that lack a column by which the target is partitioned: Postgres wants it in each."""
    if declaration.target.partition is None:
        return []
    back, leave = {new: old for old, new in source.rename.items()}, set(declaration.leave)
    needed = {back.get(c, c) for c in declaration.target.partition.columns}
    return [
        f"unique index {i.name} lacks {', '.join(sorted(needed - set(i.columns or [])))}, by which the target is partitioned"
        for i in table.indexes
        if i.unique and not {i.name, i.constraint} & leave and not needed <= set(i.columns or [])
    ]


def _partitions(connection: Connection, table: Description, leave: set[str]) -> list[str]:
    """Return what its partitions have of their own, and partitioned tables' foreign keys that contract could not renew."""
    wrong = [
        f"{what} of its partition {p['name']}"
        for p in table.partitions
        for what in p["own"]
        # In the window these would go on upon the old table's partition, which is the shadow's.
        if what.rpartition(" ")[2] not in leave or what.startswith(("schema ", "view ", "foreign key ", "trigger ", "function "))
    ]
    if connection.info.server_version < NOT_VALID_OF_PARTITIONED:
        wrong += [
            f"foreign key {k['name']} of {k['table']}, a partitioned table: before Postgres 18 contract cannot validate it apart"
            for k in table.referenced_by
            if k["kind"] == "p" and k["name"] not in leave
        ]
    return wrong


def _views(connection: Connection, table: Description, leave: set[str]) -> list[str]:
    """Return the views that would keep the old table, but for those in `leave` that nobody can write through."""
    writable = {d["name"] for d in table.dependents if d["updatable"]}
    return [
        f"view {name} {why}{' (it can be written through, and so not be left either)' if name in leave else ''}"
        for name, why in views.apart(connection, table).items()
        if name not in leave or name in writable
    ]


def _says(definition: str, column: str) -> bool:
    return re.search(rf"\b{re.escape(column)}\b", definition, re.IGNORECASE) is not None


def _written(source: str, column: str, reserved: set[str]) -> bool:
    """Tell whether a function's text may mean a column: a key word alone does not, but behind a dot or in quotes.

    Comments are read as well: nothing here knows where a string begins that holds a statement.
    """
    word = rf"\b{re.escape(column)}\b"
    if column in reserved:
        word = rf"""[."']\s*{word}"""
    elif column == "row":  # the one that every trigger's text is full of
        word = r"(?<!each )\brow\b(?!\s*\()"
    return re.search(word, source, re.IGNORECASE) is not None


def _publication(publication: dict[str, Any], changed: set[str], leave: set[str]) -> list[str]:
    name = publication["name"]
    if name in leave:
        return []
    if not publication["owned"]:
        return [f"publication {name} belongs to a role that the runner is no member of"]
    named = sorted(c for c in changed if re.search(rf"\b{re.escape(c)}\b", publication["where"] or ""))
    return [f"publication {name}: its row filter says {', '.join(named)}, which change"] if named else []


def _kind(table: Description) -> str:
    return {"v": "view", "m": "materialised view", "f": "foreign table"}.get(
        table.kind, f"relation of kind {table.kind}"
    )
