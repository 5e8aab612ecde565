"""From a declaration and the tables as they are to a shape: which column holds what, both ways."""

from __future__ import annotations

from rollout.engine.declaration import Declaration, Source
from rollout.engine.rewrite.description import Column, Description, Index, ident
from rollout.engine.rewrite.shape import Held, Side, versioned
from rollout.errors import BadInput

ORIGIN = "origin"
VOLATILE = (
    "now()",
    "CURRENT_",
    "clock_timestamp",
    "random",
    "nextval",
    "statement_timestamp",
    "transaction_timestamp",
    "uuidv",
)


def key_of(source: Source, table: Description) -> list[str]:
    """Return the columns of a table's key: those declared, the primary key's, or those of the only unique index that will do.

    Raises BadInput when there is none, or when the declared one is not held unique at once by a plain index.
    """
    usable = [i for i in table.indexes if _is_key(i, table)]
    if source.key:
        if not any(set(i.columns or []) == set(source.key) for i in usable):
            raise _wrong(
                source,
                f"no valid, immediate, plain unique index over NOT NULL columns ({', '.join(source.key)})",
                "name the columns of one in `key`, or create it first",
            )
        return source.key
    primary = [i for i in usable if i.primary]
    if not primary and len(usable) != 1:
        raise _wrong(
            source,
            f"{len(usable)} unique indexes could be its key, and none is a usable primary key",
            "name the columns of one in `key`" if usable else "give it a primary key first",
        )
    return list((primary or usable)[0].columns or [])


def renames(source: Source, table: Description) -> dict[str, str]:
    """Return every source column's name in the target; raise BadInput for a column that does not exist."""
    known = {c.name for c in table.columns}
    for what, columns in (("rename", set(source.rename)), ("back", set(source.back)), ("key", set(source.key))):
        if missing := sorted(columns - known):
            raise _wrong(source, f"{what} names {', '.join(missing)}, which it does not have", "correct change.yml")
    return {name: source.rename.get(name, name) for name in [c.name for c in table.columns]}


def side(
    declaration: Declaration, source: Source, table: Description, target: Description, bit: int, key: list[str]
) -> Side:
    """Return one source's mapping to and from the target. Raises BadInput for a column that nothing maps."""
    renamed, by_name = renames(source, table), {c.name: c for c in target.columns}
    backwards = {new: old for old, new in renamed.items() if new in by_name}
    forward, defaults = _forward(source, table, target, backwards)
    if unknown := sorted(set(source.from_) - set(by_name)):
        raise _wrong(
            source, f"from names {', '.join(unknown)}, which the target does not have", "add it to target.columns"
        )
    back: dict[str, str] = {}
    face: dict[str, str] = {}
    for column in table.columns:
        new = by_name.get(renamed[column.name])
        if column.name in source.back and column.name not in declaration.target.drop:
            face[column.name] = f"CAST(({source.back[column.name]}) AS {column.type})"
        elif new is None:
            raise _wrong(
                source,
                f"nothing gives column {column.name} back to old clients",
                f"say it under `back: {{{column.name}: ...}}`",
            )
        else:
            face[column.name] = (
                ident(new.name) if new.type == column.type else f"CAST({ident(new.name)} AS {column.type})"
            )
        if not column.generated:
            given = source.back.get(column.name)
            back[column.name] = f"CAST(({given}) AS {column.type})" if given else face[column.name]
    held_key = [renamed[k] for k in key]
    if missing := [k for k in held_key if k not in by_name]:
        raise _wrong(source, f"the target does not hold its key's {', '.join(missing)}", "keep the key's columns")
    derived = [c for c, given in forward.items() if c not in backwards or given != ident(backwards[c])]
    schema = versioned(source.schema_name, "v1")
    retyped = any("CAST" in e for e in face.values())
    return Side(
        schema_=source.schema_name, name=source.name, relation=table.relation, old=f"{ident(schema)}.{ident(source.name)}",
        bit=bit, columns=[_held(c) for c in table.columns], key=key, held_key=held_key, forward=forward, back=back, face=face,
        filled=[c for c in source.from_ if c not in backwards],
        lossy=derived, plain_face=not retyped,
        fallible=retyped or any("CAST" in e for e in back.values()) or bool(declaration.leave),
        reread=bool(table.triggers) or any(k.references_self for k in table.constraints),
        moving=False, owns=source.owns, as_found=table.facts(), defaults=defaults, grants=_grants(table),
    )  # fmt: skip


def _forward(
    source: Source, table: Description, target: Description, backwards: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what fills each of the target's columns, and the defaults of those that nothing fills and old clients cannot say."""
    forward: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for column in target.columns:
        was = table.column(backwards[column.name]) if column.name in backwards else None
        if column.generated or (column.name == ORIGIN and was is None):
            continue
        if column.name in source.from_:
            forward[column.name] = f"CAST(({source.from_[column.name]}) AS {column.type})"
        elif was is not None:
            same = was.type == column.type
            forward[column.name] = ident(was.name) if same else f"CAST({ident(was.name)} AS {column.type})"
        elif column.not_null and column.default is None and not column.identity:
            raise _wrong(
                source, f"nothing fills {column.name} of the target, which is NOT NULL without a default",
                f"say it under `from: {{{column.name}: ...}}`",
            )  # fmt: skip
        elif column.default is None or not any(word in column.default for word in VOLATILE):
            defaults[column.name] = column.default or "NULL"
    return forward, defaults


def _grants(table: Description) -> list[str]:
    """Privileges of the old table for the view that takes its place (MAINTAIN means nothing for a view)."""
    made = []
    for g in [g for g in table.grants if g["privilege"] != "MAINTAIN"]:
        on = f" ({ident(g['column'])})" if g["column"] else ""
        option = " WITH GRANT OPTION" if g["grantable"] else ""
        made.append(f"GRANT {g['privilege']}{on} ON {table.relation} TO {g['grantee']}{option}")
    return made


def held(target: Description) -> list[Held]:
    """Return the target's columns as the sync sees them."""
    return [_held(c) for c in target.columns]


def _held(column: Column) -> Held:
    return Held(name=column.name, type=column.type, exact=column.exact, written=not column.generated)


def _is_key(index: Index, table: Description) -> bool:
    columns = [table.column(name) for name in index.columns or []]
    # A nullable column is no key column: the chunks' order has no place for NULL.
    return (
        index.unique
        and index.valid
        and index.immediate
        and index.plain
        and all(c is not None and c.not_null for c in columns)
    )


def _wrong(source: Source, observed: str, to_do: str) -> BadInput:
    return BadInput(f"{source.table}: {observed}", next=to_do, page="runbooks/changes.md#declaring")
