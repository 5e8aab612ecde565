"""A table and everything around it, twice: once under change, once left alone in the schema `twin`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import psycopg
from cases import Case, Column, q
from kinds import KINDS, TEMPLATES

TWIN = "twin"
KIT = Path(__file__).with_name("kit.sql")
LOOKUPS = 12
DETAILS = 200
APP = "penguin_app"
OWNER = "penguin_rollout"


def definition(case: Case, schema: str) -> str:
    """Return the SQL of one universe: the table, what refers to it and what stands on it."""
    columns = [f"    {c.definition}" for c in case.columns]
    body = ",\n".join([*columns, *(f"    {c}" for c in case.constraints)])
    parts = [f"CREATE SCHEMA IF NOT EXISTS {q(schema)};", f"SET search_path = {q(schema)};"]
    if case.lookup:
        parts.append("CREATE TABLE lookups (id integer PRIMARY KEY, label text);")
        parts.append(f"INSERT INTO lookups SELECT n, 'l' || n FROM generate_series(0, {LOOKUPS - 1}) AS n;")
    if case.traced:
        parts.append("CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY, op text, at timestamptz);")
    parts.append(f"CREATE TABLE {q(case.table)} (\n{body}\n) {case.partition};")
    parts += [f"{statement};" for statement in case.after]
    parts.append(f"GRANT USAGE ON SCHEMA {q(schema)} TO {APP};")
    parts.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {q(schema)} TO {APP};")
    parts.append(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {q(schema)} TO {APP};")
    # Per schema, not per database, so that each universe has its own.
    return "\n".join(parts).replace("<schema>", schema)


def script(case: Case) -> str:
    """Return what a person runs to replay a case: both universes and change.yml."""
    kit = f"-- as a superuser\n{KIT.read_text()}\n-- as {OWNER}\n"
    late = "\n".join(f"{statement};" for statement in case.late)
    return f"{kit}{definition(case, case.schema)}\n-- with rows\n{late}\n\n-- change.yml\n{case.change_yml()}"


def create(superuser: psycopg.Connection[Any], case: Case) -> None:
    """Create both universes with the same rows, owned by the runner's role."""
    superuser.execute(f"SET ROLE {OWNER}".encode())
    for schema in (TWIN, case.schema):
        superuser.execute(definition(case, schema).encode())
    if case.profile.wide:
        superuser.execute(f"CREATE TABLE {TWIN}.rejected (key text PRIMARY KEY)".encode())
        superuser.execute(f"GRANT SELECT, INSERT, DELETE ON {TWIN}.rejected TO {APP}".encode())
    superuser.execute("RESET ROLE")
    with superuser.transaction():
        fill(superuser, case)
    superuser.execute(f"SET ROLE {OWNER}".encode())
    for schema in (TWIN, case.schema):
        superuser.execute(f"SET search_path = {q(schema)}".encode())
        for statement in case.late:
            superuser.execute(statement.encode())
    superuser.execute("RESET ROLE; RESET search_path; ANALYZE")


def fill(superuser: psycopg.Connection[Any], case: Case) -> None:
    """Give both tables the same rows, in the caller's transaction; what hangs on the tables does not fire."""
    chance = random.Random(case.seed)
    given = [c for c in case.columns if c.filled not in ("generated", "server")]
    names, held = (
        ", ".join(q(c.name) for c in given),
        ", ".join(q(c.name) for c in case.columns if c.filled != "generated"),
    )
    twin, subject = (f"{q(schema)}.{q(case.table)}" for schema in (TWIN, case.schema))
    superuser.execute("SET LOCAL session_replication_role = replica")
    with superuser.cursor() as cursor, cursor.copy(f"COPY {subject} ({names}) FROM STDIN".encode()) as copy:
        for number in range(case.rows):
            row = values(case, chance, number)
            copy.write_row([row[c.name] for c in given])
    superuser.execute(f"INSERT INTO {twin} ({held}) OVERRIDING SYSTEM VALUE SELECT {held} FROM {subject}".encode())
    key = ", ".join(q(name) for name in case.key)
    for schema in (TWIN, case.schema):
        if case.child:
            superuser.execute(
                f"INSERT INTO {q(schema)}.details (id, {refs(case)}, note) SELECT row_number() OVER (ORDER BY {key}),"
                f" {key}, 'first' FROM {q(schema)}.{q(case.table)} ORDER BY {key} LIMIT {DETAILS}".encode()
            )
        for name in case.seen:
            if name.startswith("mat"):
                superuser.execute(f"REFRESH MATERIALIZED VIEW {q(schema)}.{q(name)}".encode())
    for c in case.columns:
        if c.filled == "server":
            # What the server numbers in the table is told to the twin, which must never number by itself what stands already.
            superuser.execute("SELECT setval(pg_get_serial_sequence(%s, %s), 1000000000)", (twin, c.name))


def refs(case: Case) -> str:
    """Return the columns of `details` that refer to the table's key."""
    return ", ".join(f"ref{number}" for number, _ in enumerate(case.key))


def values(case: Case, chance: random.Random, number: int) -> dict[str, str | None]:
    """Return the values of row `number`; only its key and its unique columns depend on the number."""
    row: dict[str, str | None] = {}
    for c in case.columns:
        if c.filled in ("generated", "server") or c.derived:
            continue
        row[c.name] = value(case, c, chance, number)
    for c in case.columns:
        if c.derived:
            row[c.name] = TEMPLATES[c.derived[1]](row[c.derived[0]])
    return row


def value(case: Case, column: Column, chance: random.Random, number: int) -> str | None:
    """Return one value of a column."""
    kind = KINDS[column.kind]
    if column.name in case.key or column.fresh:
        # Parts of a composite key: the last tells rows apart, the others repeat.
        tells = column.fresh or column.name == case.key[-1]
        assert kind.nth or not tells
        return kind.nth(number) if kind.nth and tells else kind.nth(number % 5 + 3) if kind.nth else kind.value(chance)
    if column.name == case.lookup:
        return None if chance.random() < 0.3 else str(chance.randrange(LOOKUPS))
    if column.name == case.up:
        return None
    # A NULL that an old client gives to a column of another type is not told from one that it leaves to the default.
    defaulted = column.filled == "default" and column.name in case.widened
    if column.nullable and not defaulted and chance.random() < 0.15:
        return None
    return kind.value(chance)
