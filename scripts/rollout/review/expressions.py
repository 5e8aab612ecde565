"""The SQL inside change.yml: whether it parses, and whether it says the same whenever it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rollout.engine.declaration import Declaration, Partition
from rollout.engine.located import Document, Wrong
from rollout.review import squawk

VOLATILE = re.compile(
    r"\b(?:(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|random\w*|setseed|nextval|currval|lastval"
    r"|setval|gen_random_\w+|uuid_generate_\w+|uuidv\d+|txid_current\w*|pg_current_\w+|pg_backend_pid|current_setting|pg_sleep\w*)"
    r"\s*\(|(?:current_(?:date|time|timestamp|user|role|catalog|schema)|localtime|localtimestamp|session_user|user)\b)",
    re.IGNORECASE,
)
LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
BOUNDS = {
    "list": re.compile(r"FOR\s+VALUES\s+IN\s*\(.*\)|DEFAULT", re.IGNORECASE | re.DOTALL),
    "range": re.compile(r"FOR\s+VALUES\s+FROM\s*\(.*\)\s*TO\s*\(.*\)|DEFAULT", re.IGNORECASE | re.DOTALL),
    "hash": re.compile(r"FOR\s+VALUES\s+WITH\s*\(.*\)", re.IGNORECASE | re.DOTALL),
}
SHAPES = {
    "list": "FOR VALUES IN (...) or DEFAULT",
    "range": "FOR VALUES FROM (...) TO (...) or DEFAULT",
    "hash": "FOR VALUES WITH (MODULUS n, REMAINDER m)",
}


class Piece(NamedTuple):
    """A piece of SQL: where it stands, a statement that holds it as the engine's do, and whether it has to be stable."""

    place: tuple[str | int, ...]
    text: str
    statement: str
    stable: bool


def wrong(document: Document, declaration: Declaration) -> list[Wrong]:
    """Return every piece of SQL that does not parse, is volatile, or is no bound of its partitioning."""
    pieces = list(_pieces(declaration))
    found = []
    broken = squawk.syntax({f"{n}.sql": piece.statement for n, piece in enumerate(pieces)})
    for number, piece in enumerate(pieces):
        if words := broken.get(f"{number}.sql"):
            found.append(document.at(f"`{piece.text}` is no SQL here: {words}", *piece.place))
        elif piece.stable and (match := VOLATILE.search(LITERAL.sub("''", piece.text))):
            said = match[0].rstrip("( ")
            words = f"`{said}` says something else each time it is asked, so both sides could never agree"
            found.append(document.at(words, *piece.place))
    if (partition := declaration.target.partition) and not found:
        found += _bounds(document, partition)
    return found


def _pieces(declaration: Declaration) -> Iterator[Piece]:
    for number, source in enumerate(declaration.sources):
        for key, expressions in (("from", source.from_), ("back", source.back)):
            for column, text in expressions.items():
                yield Piece(("sources", number, key, column), text, f"SELECT CAST(({text}) AS text)", stable=True)
        if source.owns:
            yield Piece(("sources", number, "owns"), source.owns, f"SELECT CASE WHEN {source.owns} THEN 1 END", stable=True)
    target = declaration.target
    for column, text in target.columns.items():
        yield Piece(("target", "columns", column), text, f"ALTER TABLE t ADD COLUMN c {text}", stable=False)
    for name, text in (target.partition.partitions if target.partition else {}).items():
        place = ("target", "partition", "partitions", name)
        yield Piece(place, text, f"CREATE TABLE p PARTITION OF t {text}", stable=False)
    yield from _of_rename(declaration)
    if declaration.backfill:
        for column, text in declaration.backfill.set.items():
            yield Piece(("backfill", "set", column), text, f"SELECT ({text}) AS c", stable=False)
        if text := declaration.backfill.where:
            yield Piece(("backfill", "where"), text, f"SELECT 1 WHERE ({text})", stable=False)


def _of_rename(declaration: Declaration) -> Iterator[Piece]:
    for column, text in declaration.add.items():
        yield Piece(("add", column), text, f"ALTER TABLE t ADD COLUMN c {text}", stable=False)
    for number, one in enumerate(declaration.constraints):
        if one.check:
            yield Piece(("constraints", number, "check"), one.check, f"SELECT 1 WHERE ({one.check})", stable=True)
        for key, expressions in (("set", one.mend.set), ("parent", one.mend.parent)):
            for column, text in expressions.items():
                yield Piece(("constraints", number, "mend", key, column), text, f"SELECT ({text}) AS c", stable=False)


def _bounds(document: Document, partition: Partition) -> Iterator[Wrong]:
    defaults = []
    for name, text in partition.partitions.items():
        place = ("target", "partition", "partitions", name)
        if not BOUNDS[partition.by].fullmatch(text.strip()):
            words = f"`{text}` is no bound of a partition by {partition.by}: {SHAPES[partition.by]}"
            yield document.at(words, *place)
        elif text.strip().upper() == "DEFAULT":
            defaults.append(name)
            if len(defaults) > 1:
                yield document.at(f"{name} is DEFAULT, and so is {defaults[0]}", *place)
