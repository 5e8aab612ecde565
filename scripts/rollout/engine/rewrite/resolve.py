"""From a declaration and the tables as they are to a shape: which column holds what, both ways."""

from __future__ import annotations

from rollout.engine.declaration import Declaration, Source, Table
from rollout.engine.rewrite.description import Column, Description, Index, ident
from rollout.engine.rewrite.shape import Held, Side, function_name, versioned
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


def key_of(source: Table, table: Description) -> list[str]:
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


def hidden(declaration: Declaration, source: Source, table: Description) -> dict[str, str]:
    """Return the target's column in which each source column that ends with contract lives on until then.

    Those are the dropped ones, under their own names, and, beside a column that gets another type, the one of the old type:
    old clients read and write them as ever, and a trigger keeps a row's two columns of one meaning alike.
    """
    found = {}
    for column in table.columns:
        new = source.rename.get(column.name, column.name)
        if new in declaration.target.columns:
            found[column.name] = function_name("rollout_old", column.name)
        elif new in declaration.target.drop:
            found[column.name] = new
    return found


def side(
    declaration: Declaration, source: Source, table: Description, target: Description, bit: int, key: list[str]
) -> Side:
    """Return one source's mapping to and from the target. Raises BadInput for a column that nothing maps."""
    renamed, by_name = renames(source, table), {c.name: c for c in target.columns}
    kept = hidden(declaration, source, table)
    retyped = {renamed[c]: c for c in kept if renamed[c] not in declaration.target.drop}
    holds = {kept.get(c, new): c for c, new in renamed.items()}
    if missing := sorted({*holds, *(renamed[k] for k in key), *source.from_} - set(by_name)):
        raise _wrong(
            source, f"the target has no {', '.join(missing)}",
            "declare columns that end under target.drop, and new ones under target.columns",
        )  # fmt: skip
    given = {new: f"CAST({ident(old)} AS {by_name[new].type})" for new, old in retyped.items()}
    given |= {c: f"CAST(({e}) AS {by_name[c].type})" for c, e in source.from_.items()}
    forward, defaults = _forward(source, target, holds, given, merged=len(declaration.sources) > 1)
    written = {c.name: c for c in table.columns if not c.generated}
    back = {
        kept[c]: f"CAST(({source.back[c]}) AS {written[c].type})" for c in source.back if c in kept and c in written
    }
    if unknown := sorted(c for c in source.back if kept.get(c) not in back):
        raise _wrong(
            source, f"back names {', '.join(unknown)}, which the target holds as it is (or which is generated)",
            "leave it out, or let the column end with contract under target.drop",
        )  # fmt: skip
    for new, old in retyped.items():
        back.setdefault(kept[old], f"CAST({ident(new)} AS {table_type(table, old)})")
    schema = versioned(source.schema_name, "v1")
    face = {c.name: ident(kept.get(c.name, renamed[c.name])) for c in table.columns}
    return Side(
        schema_=source.schema_name, name=source.name, relation=table.relation, old=f"{ident(schema)}.{ident(source.name)}",
        bit=bit, columns=[_held(c) for c in table.columns], key=key, held_key=[renamed[k] for k in key], forward=forward,
        back={c: face[c] for c in written}, face=face, filled=given,
        retyped={n: kept[o] for n, o in retyped.items()}, moved=[], unfilled=back,
        lossy=list(given), fallible=bool(given or back or declaration.leave),
        reread=bool(table.triggers) or any(k.references_self for k in table.constraints),
        moving=False, owns=source.owns, as_found=table.facts() | table.surroundings(), defaults=defaults, grants=_grants(table),
    )  # fmt: skip


def table_type(table: Description, column: str) -> str:
    """Return the type of a column that is there."""
    return next(c.type for c in table.columns if c.name == column)


def _forward(
    source: Source, target: Description, holds: dict[str, str], given: dict[str, str], *, merged: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what fills each of the target's columns, and the defaults of those that old clients cannot say."""
    forward: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for column in target.columns:
        if column.generated or (merged and column.name == ORIGIN and column.name not in holds):
            continue
        if column.name in given:
            forward[column.name] = given[column.name]
        elif column.name in holds:
            forward[column.name] = ident(holds[column.name])
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
    return Held(name=column.name, type=column.type, exact=column.exact, send=column.send, written=not column.generated)


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


def _wrong(source: Table, observed: str, to_do: str) -> BadInput:
    return BadInput(f"{source.table}: {observed}", next=to_do, page="runbooks/changes.md#declaring")
