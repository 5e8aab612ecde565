"""Indexes, constraints and foreign keys of a case's table, out, in and to itself."""

from __future__ import annotations

from dataclasses import replace

from cases import Case, Column, q
from draws import LONG, Draw, Names, chance, one

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
UNINDEXED = ("json", "point", "bytea", "xml")


def and_then(case: Case, *statements: str) -> Case:
    return replace(case, after=(*case.after, *(s.replace("<table>", q(case.table)) for s in statements)))


def with_column(case: Case, column: Column) -> Case:
    return replace(case, columns=(*case.columns, column))


def split(case: Case) -> bool:
    """Whether source or target is partitioned: unique keys then need the partition's column."""
    return bool(case.partition or "partition" in case.target)


def narrow(case: Case) -> bool:
    """Whether the target has no unique key on the source's key alone, which a foreign key needs."""
    return "key" in case.target


def index(draw: Draw, case: Case, _names: Names) -> Case:
    name = q(one(draw, "plain_idx", "An Index", f"{LONG}i", f"{LONG}j"))
    column = one(draw, *(c for c in case.columns if c.kind not in UNINDEXED))
    if "VIRTUAL" in column.rest or any(name in s for s in case.after):
        return case
    counter, word = q(case.counter), q(case.word)
    what = one(
        draw,
        f"({q(column.name)})",
        f"({q(column.name)} DESC NULLS LAST, {counter})",
        f"({counter}) WHERE {counter} > 3",
        f"(lower({word}), ({counter} + 1))",
        f"({counter}) INCLUDE ({word})",
        f"({word} text_pattern_ops) WITH (fillfactor = 60)",
        f"USING hash ({word})",
        f"USING brin ({counter})",
    )
    return and_then(case, f"CREATE INDEX {name} ON <table> {what}")


def unique(draw: Draw, case: Case, names: Names) -> Case:
    if split(case):
        return case
    column = Column(next(names), one(draw, "text", "uuid", "timestamptz", "inet"), fresh=True)
    name = q(column.name)
    what = one(
        draw,
        f"CREATE UNIQUE INDEX own_idx ON <table> ({name}) WHERE {q(case.counter)} IS NOT NULL",
        f"CREATE UNIQUE INDEX own_idx ON <table> ((md5({name}::text)))"
        if column.kind in ("text", "uuid")
        else f"CREATE UNIQUE INDEX own_idx ON <table> ({name})",
        f'ALTER TABLE <table> ADD CONSTRAINT "Own Key" UNIQUE NULLS NOT DISTINCT ({name}) INCLUDE ({q(case.counter)})',
        f"ALTER TABLE <table> ADD CONSTRAINT own_key UNIQUE ({name}) DEFERRABLE INITIALLY DEFERRED",
    )
    case = with_column(case, column)
    if "DEFERRED" in what:
        case = replace(case, deferred=(*case.deferred, "own_key"))
    return and_then(case, what)


def checked(draw: Draw, case: Case, _names: Names) -> Case:
    name = q(one(draw, "small enough", f"{LONG}c"))
    if chance(draw, 0.5):
        return and_then(case, f"ALTER TABLE <table> ADD CONSTRAINT {name} CHECK ({q(case.counter)} < 10)")
    # Not validated: some of the rows that stand break it.
    late = f"ALTER TABLE {q(case.table)} ADD CONSTRAINT {name} CHECK ({q(case.counter)} < 8 OR {q(case.word)} <> 'A') NOT VALID"
    return replace(case, late=(*case.late, late))


def excluded(draw: Draw, case: Case, names: Names) -> Case:
    if split(case):
        return case
    column, late = Column(next(names), "slot", fresh=True), one(draw, "", " DEFERRABLE INITIALLY DEFERRED")
    if late:
        case = replace(case, deferred=(*case.deferred, "no_overlap"))
    return and_then(
        with_column(case, column),
        f"ALTER TABLE <table> ADD CONSTRAINT no_overlap EXCLUDE USING gist ({q(column.name)} WITH &&){late}",
    )


def _actions(draw: Draw, *, strict: bool = False) -> str:
    allowed = ACTIONS[:3] if strict else ACTIONS
    return f"ON DELETE {one(draw, *allowed)} ON UPDATE {one(draw, *allowed)}"


def lookup(draw: Draw, case: Case, names: Names) -> Case:
    column = Column(next(names), "small", "DEFAULT NULL")
    late = one(draw, "", "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(
        with_column(case, column), lookup=column.name, deferred=(*case.deferred, *(["to_lookups"] if late else []))
    )
    return and_then(
        case,
        f"ALTER TABLE <table> ADD CONSTRAINT to_lookups FOREIGN KEY ({q(column.name)}) REFERENCES lookups {_actions(draw)}{late}",
    )


def child(draw: Draw, case: Case, _names: Names) -> Case:
    if narrow(case):
        return case
    columns = [f"ref{n} {case.column(name).type}" for n, name in enumerate(case.key)]
    refs = ", ".join(f"ref{n}" for n in range(len(case.key)))
    key = ", ".join(q(name) for name in case.key)
    late = one(draw, "", "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(case, child=True, deferred=(*case.deferred, *(["of_table"] if late else [])))
    return and_then(
        case,
        f"CREATE TABLE details (id bigint PRIMARY KEY, {', '.join(columns)}, note text,"
        f" CONSTRAINT of_table FOREIGN KEY ({refs}) REFERENCES <table> ({key}) {_actions(draw)}{late})",
    )


def itself(draw: Draw, case: Case, names: Names) -> Case:
    if narrow(case) or len(case.key) > 1:
        return case
    kind = {"serial": "int", "numbered": "int", "numbered8": "bigint"}.get(
        case.column(case.key[0]).kind, case.column(case.key[0]).kind
    )
    column = Column(next(names), kind)
    case = replace(with_column(case, column), up=column.name)
    late = one(draw, "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(case, deferred=(*case.deferred, *(["to_itself"] if late else [])))
    return and_then(
        case,
        f"ALTER TABLE <table> ADD CONSTRAINT to_itself FOREIGN KEY ({q(column.name)}) REFERENCES <table> ({q(case.key[0])})"
        f" {_actions(draw).replace('DELETE RESTRICT', 'DELETE NO ACTION')}{late}",  # that is refused
    )
