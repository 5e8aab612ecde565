"""What clients do to one side of a case, and then, told what came of it, to the other side in the same transaction.

The second side is given the keys that the first one returned, never the question again: what another client commits in
between then cannot part them, because the first side's row locks guard the second side's rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from cases import Case, q
from faces import Face, Row, escaped

Key = tuple[str | None, ...]
Connection = psycopg.Connection[Any]


class Write(Protocol):
    """`subject_first`: only the table itself knows what the server will fill in."""

    subject_first: bool

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        """Do it on one side and return the rows that came back; `told` are those of the first side."""
        ...


def key_of(case: Case, row: Row) -> Key:
    """Return a row's key."""
    return tuple(row[name] for name in case.key)


def where(case: Case, face: Face, keys: list[Key]) -> tuple[str, list[str | None]]:
    """Return a condition on these keys, and its values."""
    names = [escaped(face.names[name]) for name in case.key]
    if not keys:
        return "false", []
    places = ", ".join("%s" for _ in names)
    row = places if len(names) == 1 else f"({places})"
    columns = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"{columns} IN ({', '.join(row for _ in keys)})", [value for key in keys for value in key]


@dataclass
class Insert:
    """Rows, each with the same columns given; `conflict`, with one row only: NOTHING or UPDATE on its key."""

    case: Case
    rows: list[Row]
    conflict: str = ""
    subject_first: bool = False

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        rows = self.rows
        if told is not None:
            if not told:  # ON CONFLICT DO NOTHING did nothing
                return []
            # What the server filled in on the first side is given to the second one.
            left = [c.name for c in self.case.columns if c.filled in ("default", "server") and c.name not in rows[0]]
            rows = [
                row | {name: back[name] for name in left if name in back} for row, back in zip(rows, told, strict=True)
            ]
        given = [face.given(row) for row in rows]
        columns = list(given[0])
        numbered = any(c.filled == "server" and c.kind != "serial" and c.name in rows[0] for c in self.case.columns)
        places = ", ".join(f"({', '.join('%s' for _ in columns)})" for _ in given)
        query = (
            f"INSERT INTO {escaped(face.relation)} AS here ({escaped(', '.join(columns))})"
            f"{' OVERRIDING SYSTEM VALUE' if numbered else ''} VALUES {places}{self._conflict(face)} RETURNING {_here(face)}"
        )
        return face.run(connection, query, [row[name] for row in given for name in columns])

    def _conflict(self, face: Face) -> str:
        if not self.conflict:
            return ""
        key = ", ".join(face.names[name] for name in self.case.key)
        if self.conflict == "NOTHING":
            return escaped(f" ON CONFLICT ({key}) DO NOTHING")
        counter = face.names[self.case.counter]
        words = [self.case.word, *(c.name for c in self.case.columns if c.derived)]
        taken = [face.names[name] for name in words if name in face.names] + [q(a.name) for a in face.added]
        sets = ", ".join(f"{name} = excluded.{name}" for name in taken)
        return escaped(f" ON CONFLICT ({key}) DO UPDATE SET {counter} = here.{counter} + 1, {sets}")


@dataclass
class Update:
    """Other columns than the key, on some keys; `count` adds one to the counter; `only`: a value that the counter must have."""

    case: Case
    keys: list[Key]
    sets: Row
    count: bool = False
    only: str | None = None
    subject_first: bool = False

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        keys = self.keys if told is None else [key_of(self.case, row) for row in told]
        if told == []:
            return []
        counter = escaped(face.names[self.case.counter])
        condition, values = where(self.case, face, keys)
        if self.only is not None and told is None:
            condition, values = f"{condition} AND {counter} = %s", [*values, self.only]
        given = face.given(self.sets)
        sets = [f"{escaped(name)} = %s" for name in given] + ([f"{counter} = {counter} + 1"] if self.count else [])
        query = f"UPDATE {escaped(face.relation)} SET {', '.join(sets)} WHERE {condition} RETURNING {face.returning()}"
        return face.run(connection, query, [*given.values(), *values])


@dataclass
class Rekey:
    """Give rows another key: `pairs` of old and new."""

    case: Case
    pairs: list[tuple[Key, Key]]
    subject_first: bool = False

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        pairs, rows = self.pairs, list[Row]()
        if told is not None:
            found = {row["was"] for row in told}
            pairs = [pair for number, pair in enumerate(pairs) if str(number) in found]
        if len(self.pairs) > 1 and pairs:
            return self._together(connection, face, pairs)
        for number, (old, new) in enumerate(pairs):
            sets = ", ".join(f"{escaped(face.names[name])} = %s" for name in self.case.key)
            condition, values = where(self.case, face, [old])
            query = f"UPDATE {escaped(face.relation)} SET {sets} WHERE {condition} RETURNING {face.returning()}"
            rows += [row | {"was": str(number)} for row in face.run(connection, query, [*new, *values])]
        return rows

    def _together(self, connection: Connection, face: Face, pairs: list[tuple[Key, Key]]) -> list[Row]:
        types = [self.case.column(name).type for name in self.case.key]
        names = [escaped(face.names[name]) for name in self.case.key]
        one = ", ".join([f"%s::{t}" for t in types] * 2)
        places = ", ".join(f"({one}, {self.pairs.index(pair)})" for pair in pairs)
        listed = ", ".join([*(f"old{n}" for n in range(len(types))), *(f"new{n}" for n in range(len(types))), "was"])
        sets = ", ".join(f"{name} = m.new{n}" for n, name in enumerate(names))
        same = " AND ".join(f"here.{name} = m.old{n}" for n, name in enumerate(names))
        query = (
            f"UPDATE {escaped(face.relation)} AS here SET {sets} FROM (VALUES {places}) AS m ({listed}) WHERE {same}"
            f" RETURNING {_here(face)}, m.was"
        )
        return face.run(connection, query, [value for old, new in pairs for value in (*old, *new)])


@dataclass
class Delete:
    """Delete some keys."""

    case: Case
    keys: list[Key]
    subject_first: bool = False

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        if told == []:
            return []
        condition, values = where(
            self.case, face, self.keys if told is None else [key_of(self.case, row) for row in told]
        )
        query = f"DELETE FROM {escaped(face.relation)} WHERE {condition} RETURNING {face.returning()}"
        return face.run(connection, query, values)


@dataclass
class Read:
    """Read some keys under a row lock, which makes both sides comparable."""

    case: Case
    keys: list[Key]
    strength: str = "FOR UPDATE"
    subject_first: bool = False

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        if told == []:
            return []
        strength = self.strength if told is None else self.strength.removesuffix(" SKIP LOCKED")
        condition, values = where(
            self.case, face, self.keys if told is None else [key_of(self.case, row) for row in told]
        )
        query = f"SELECT {face.returning()} FROM {escaped(face.relation)} WHERE {condition} {strength}"
        return face.run(connection, query, values)


@dataclass
class Beside:
    """A statement on a neighbour of the table: `lookups`, `details` or a view; `<around>` is its schema."""

    query: str
    values: list[str | None]
    subject_first: bool = False
    rows: list[Row] = field(default_factory=list)

    def run(self, connection: Connection, face: Face, told: list[Row] | None = None) -> list[Row]:
        if told == []:
            return []
        return face.run(connection, self.query.replace("<around>", escaped(q(face.around))), self.values)


def parted(first: list[Row], second: list[Row]) -> Iterator[str]:
    """Yield what two sides gave back differently, in the columns that both have."""
    if len(first) != len(second):
        yield f"{len(first)} rows on one side, {len(second)} on the other"
        return
    shared = sorted(set(first[0]) & set(second[0])) if first else []
    one, other = (sorted(([row[name] for name in shared] for row in rows), key=repr) for rows in (first, second))
    for left, right in zip(one, other, strict=True):
        for name, a, b in zip(shared, left, right, strict=True):
            if a != b:
                yield f"{name}: {_short(a)} on one side, {_short(b)} on the other"


def _here(face: Face) -> str:
    return escaped(", ".join(f"here.{name}" for name in face.names.values()))


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) < 80 else f"{text[:80]}...")
