"""A face: the names under which one side of a case is written: the old ones, the twin's, or green's in the target's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from cases import Added, Case, q
from kinds import TEMPLATES
from universe import TWIN

Row = dict[str, str | None]


@dataclass(frozen=True)
class Face:
    """`relation` is SQL; `names`: a column to its name here (absent: not here); `around`: its neighbours' schema."""

    relation: str
    names: dict[str, str]
    around: str
    added: tuple[Added, ...] = ()

    def given(self, row: Row) -> Row:
        """Return a row's values under the names of this side, quoted, with what only this side has."""
        here = {self.names[name]: value for name, value in row.items() if name in self.names}
        return here | {q(a.name): TEMPLATES[a.template](row[a.over]) for a in self.added if a.over in row}

    def run(self, connection: psycopg.Connection[Any], query: str, values: list[str | None] | None = None) -> list[Row]:
        """Run a statement; return its rows as the server prints them, by the case's own names of the columns."""
        cursor = connection.execute(query.encode(), values or [])
        result, back = cursor.pgresult, {named: name for name, named in self.names.items()}
        if result is None or not result.nfields:
            return []
        fields = [
            back.get(q((result.fname(i) or b"").decode()), (result.fname(i) or b"").decode())
            for i in range(result.nfields)
        ]
        texts = ([result.get_value(row, i) for i in range(result.nfields)] for row in range(result.ntuples))
        return [
            {name: text if text is None else text.decode() for name, text in zip(fields, row, strict=True)}
            for row in texts
        ]

    def returning(self) -> str:
        """Return the columns to give back, all of them, for a statement with placeholders."""
        return escaped(", ".join(self.names.values()))


def escaped(text: str) -> str:
    """Double what psycopg would take for a placeholder."""
    return text.replace("%", "%%")


def twin(case: Case) -> Face:
    """Return the face of the table that is left alone."""
    return Face(f"{q(TWIN)}.{q(case.table)}", {c.name: q(c.name) for c in case.columns}, TWIN)


def blue(case: Case) -> Face:
    """Return the face under the old name, before and after the swap."""
    return Face(f"{q(case.schema)}.{q(case.table)}", {c.name: q(c.name) for c in case.columns}, case.schema)


def green(case: Case) -> Face:
    """Return the face of the target: without a schema, as it moves home with contract."""
    kept = [c.name for c in case.columns if c.name not in case.dropped]
    return Face(q(case.target_name), {name: q(case.rename.get(name, name)) for name in kept}, case.schema, case.added)
