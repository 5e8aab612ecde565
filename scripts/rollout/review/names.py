"""Names that a change gives or says: at most 63 bytes, none given twice, and columns that fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout.engine.declaration import Declaration, Source
from rollout.engine.located import Document, Wrong
from rollout.engine.rewrite.resolve import ORIGIN
from rollout.engine.rewrite.shape import NAME_BYTES_MAX, function_name, versioned

Place = tuple[str | int, ...]


def wrong(document: Document, declaration: Declaration) -> list[Wrong]:
    """Return what is wrong with the names of one change, without asking a catalogue."""
    found = [
        document.at(f"{what} {name!r} has {len(name.encode())} bytes; Postgres keeps {NAME_BYTES_MAX}", *place)
        for what, name, place in _all(declaration)
        if len(name.encode()) > NAME_BYTES_MAX
    ]
    constraints: list[tuple[str, Place]] = [
        (f"{one.table}: {one.name}", ("constraints", n, "name")) for n, one in enumerate(declaration.constraints)
    ]
    found += _twice(document, constraints)
    found += _twice(document, [(f"{schema}.{name}", place) for schema, name, place in relations(declaration)])
    for number, source in enumerate(declaration.sources):
        columns: list[tuple[str, Place]] = [(new, ("sources", number, "rename", o)) for o, new in source.rename.items()]
        if len(declaration.sources) > 1:
            columns.append((ORIGIN, ("target", "columns", ORIGIN)))
        renamed = set(source.rename.values())
        # A column of the target that a source's column is renamed to gets another type; it is no second one.
        columns += [(c, ("target", "columns", c)) for c in declaration.target.columns if c not in renamed]
        found += [*_twice(document, columns), *_mapping(document, declaration, number, source)]
    return [*found, *_target(document, declaration)]


def relations(declaration: Declaration) -> list[tuple[str, str, Place]]:
    """Return schema, name and place of each relation that a rewrite makes beside its shadow's schema's others."""
    if not declaration.sources:
        return []
    first, target = declaration.sources[0], declaration.target
    schema, name = versioned(first.schema_name, "v2"), target.name or first.name
    made: list[tuple[str, str, Place]] = [(schema, name, ("target", "name") if target.name else ("sources", 0, "table"))]
    if target.partition:
        made += [(schema, p, ("target", "partition", "partitions", p)) for p in target.partition.partitions]
    if target.key:
        made.append((schema, function_name(name, f"{'_'.join(target.key)}_key"), ("target", "key")))
    return made


def _all(declaration: Declaration) -> Iterator[tuple[str, str, Place]]:
    """Yield every name that a change says or has made: what it is, the name, its place."""
    for number, source in enumerate(declaration.sources):
        yield "schema", source.schema_name, ("sources", number, "table")
        yield "schema", versioned(source.schema_name, "v2"), ("sources", number, "table")
        yield "table", source.name, ("sources", number, "table")
        for key, columns in (("key", source.key), ("from", source.from_), ("back", source.back)):
            yield from (("column", c, ("sources", number, key)) for c in columns)
        for old, new in source.rename.items():
            yield "column", old, ("sources", number, "rename", old)
            yield "column", new, ("sources", number, "rename", old)
    target = declaration.target
    yield "table", target.name, ("target", "name")
    for key, columns in (("key", target.key), ("drop", target.drop), ("columns", target.columns)):
        yield from (("column", c, ("target", key, c)) for c in columns)
    for name in target.partition.partitions if target.partition else {}:
        yield "partition", name, ("target", "partition", "partitions", name)
    for old, new in declaration.rename.items():
        yield "column", old, ("rename", old)
        yield "column", new, ("rename", old)
    yield from (("constraint", one.name, ("constraints", n, "name")) for n, one in enumerate(declaration.constraints))
    yield from (("name", name, ("leave", n)) for n, name in enumerate(declaration.leave))
    yield from (("column", c, ("backfill", "set", c)) for c in (declaration.backfill.set if declaration.backfill else {}))


def _twice(document: Document, names: Sequence[tuple[str, Place]]) -> Iterator[Wrong]:
    seen: dict[str, Place] = {}
    for name, place in names:
        if name in seen:
            yield document.at(f"{name} is made twice: also in line {document.line(*seen[name])}", *place)
        seen[name] = place


def _mapping(document: Document, declaration: Declaration, number: int, source: Source) -> Iterator[Wrong]:
    target, several = declaration.target, len(declaration.sources) > 1
    for column in source.back:
        new = source.rename.get(column, column)
        if new not in target.columns and new not in target.drop:
            words = f"back names {column}, which the target holds as it is: it is neither in target.drop nor in target.columns"
            yield document.at(words, "sources", number, "back", column)
    if several and (source.from_ or source.back):
        yield document.at("of several sources no column can be worked out anew", "sources", number, "from")
    if not several and source.owns:
        yield document.at("owns says which rows belong to one of several sources, and there is one", "sources", number, "owns")


def _target(document: Document, declaration: Declaration) -> Iterator[Wrong]:
    target, tables = declaration.target, [source.table for source in declaration.sources]
    for number, table in enumerate(tables):
        if table in tables[:number]:
            yield document.at(f"{table} is a source twice", "sources", number, "table")
    for column in target.drop:
        if column in target.columns:
            yield document.at(f"{column} is in target.drop and in target.columns", "target", "drop")
    if target.partition and target.key:
        for column in target.partition.columns:
            if column not in target.key:
                words = f"target.key lacks {column}, and a key of a partitioned table holds what it is partitioned by"
                yield document.at(words, "target", "key")
