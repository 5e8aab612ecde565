"""The comparison of a case's table, in every shape it has now, with the twin that was left alone."""

from __future__ import annotations

from typing import Any

import psycopg
from cases import Case, q
from universe import TWIN

SHOWN = 6
REJECTS = """
SELECT 'reject ledger, only ' || side || ': ' || key FROM (
    SELECT coalesce(e.key, w.key) AS key, CASE WHEN w.key IS NULL THEN 'here' ELSE 'in the twin' END AS side
    FROM (SELECT key FROM rollout.rejects WHERE taken_back IS NULL) AS e FULL JOIN {rejected} AS w ON w.key = e.key
    WHERE e.key IS NULL OR w.key IS NULL
) AS parted LIMIT 6
"""
QUERY = """
WITH one AS (SELECT ROW({left})::text AS r FROM {relation}), other AS (SELECT ROW({right})::text AS r FROM {twin}),
parted AS (
    (SELECT 'only here' AS side, r FROM (TABLE one EXCEPT ALL TABLE other) AS a LIMIT 3)
    UNION ALL (SELECT 'only in the twin', r FROM (TABLE other EXCEPT ALL TABLE one) AS b LIMIT 3)
)
SELECT side || ': ' || left(r, 400) FROM parted
"""
NEIGHBOURS = {"lookups": "id, label", "details": "details", "audit": "op, at"}


def taken_back(connection: psycopg.Connection[Any], case: Case) -> None:
    """Forget what only the new shape held: it has been taken off the shadow, and stays in the reject ledger."""
    if case.profile.wide:
        connection.execute(f"DELETE FROM {TWIN}.rejected".encode())


def differences(connection: psycopg.Connection[Any], case: Case, stage: str | None) -> list[str]:
    """Return what differs, at a stage of the ledger; every comparison is one statement and so one snapshot.

    As text, row by row: some types have no equality, and equal numbers may print differently.
    """
    own = ", ".join(q(c.name) for c in case.columns)
    found = []
    if case.profile.wide and stage == "swapped":
        found += [line for (line,) in connection.execute(REJECTS.format(rejected=f"{TWIN}.rejected").encode())]
    if stage != "contracted":
        relation = f"{q(case.schema)}.{q(case.table)}"
        but = _but(case, list(case.key)) if stage == "swapped" else ""
        found += _compared(connection, relation + but, own, f"{q(TWIN)}.{q(case.table)}" + but, own)
    if stage in ("swapped", "contracting"):
        found += _compared(connection, f"{q(case.old_schema)}.{q(case.table)}", own, f"{q(TWIN)}.{q(case.table)}", own)
    if stage in ("copied", "compared", "swapped", "contracted"):
        schema = case.schema if stage == "contracted" else case.target_schema
        mapping = case.mapping
        left = ", ".join(q(name) for name in mapping)
        found += _compared(
            connection,
            f"{q(schema)}.{q(case.target_name)}" + _but(case, [case.rename.get(name, name) for name in case.key]),
            left,
            f"{q(TWIN)}.{q(case.table)}" + _but(case, list(case.key)),
            ", ".join(mapping.values()),
        )
    # To a trigger a row that moves between the target's partitions is deleted and inserted, which the twin's is not.
    traced = case.traced and "partition" not in case.target
    for name, columns in NEIGHBOURS.items():
        if {"lookups": case.lookup, "details": case.child, "audit": traced}[name]:
            found += _compared(connection, f"{q(case.schema)}.{name}", columns, f"{TWIN}.{name}", columns)
    for name in case.seen:
        if stage == "contracted" and name in case.left:
            continue
        if name.startswith("mat"):
            for schema in (case.schema, TWIN):
                connection.execute(f"REFRESH MATERIALIZED VIEW {q(schema)}.{q(name)}".encode())
        found += _compared(connection, f"{q(case.schema)}.{q(name)}", q(name), f"{TWIN}.{q(name)}", q(name))
    return found


def _but(case: Case, key: list[str]) -> str:
    """Return a WHERE that leaves out what only the new shape holds."""
    if not case.profile.wide:
        return ""
    return f" WHERE {key_text(key)} NOT IN (SELECT key FROM {TWIN}.rejected)"


def key_text(key: list[str]) -> str:
    """Return the SQL of a key as the ledger writes it down."""
    listed = ", ".join(f"{q(name)}::text" for name in key)
    return listed if len(key) == 1 else f"jsonb_build_array({listed})::text"


def _compared(connection: psycopg.Connection[Any], relation: str, left: str, twin: str, right: str) -> list[str]:
    query = QUERY.format(relation=relation, left=left, twin=twin, right=right)
    return [f"{relation} {line}" for (line,) in connection.execute(query.encode()).fetchall()][:SHOWN]
