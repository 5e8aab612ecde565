"""What a swap exchanges besides the names, as statements: triggers, foreign keys, sequences, privileges, publications, views.

Each is written beside its undo: the swap's list and the revert's are made together.
"""

from __future__ import annotations

from rollout.engine.declaration import Declaration
from rollout.engine.rewrite import belongings, bindings, carry, resolve, views
from rollout.engine.rewrite.description import Description, ident
from rollout.engine.rewrite.exchanged import Exchange, Say
from rollout.engine.rewrite.shape import Shape, versioned
from rollout.errors import BadInput


def shape(
    change: str,
    declaration: Declaration,
    tables: list[Description],
    target: Description,
    defaults: dict[str, str],
    stay: set[str],
    say: Say,
) -> Shape:
    """Return the shape of a rewrite whose shadow stands as declared; drops from it what is built after the copy.

    `defaults`: of columns that are without one in the window, `stay`: views that keep the old table, see Making.
    """
    first, sources = tables[0], declaration.sources
    leave = set(declaration.leave)
    keys = [resolve.key_of(source, table) for source, table in zip(sources, tables, strict=True)]
    renamed = resolve.renames(sources[0], first)
    key = declaration.target.key or [renamed[k] for k in keys[0]]
    sides = [
        resolve.side(declaration, source, table, target, 1 << n, keys[n])
        for n, (source, table) in enumerate(zip(sources, tables, strict=True))
    ]
    home = f"{ident(first.schema_)}.{ident(target.name)}"
    exchange = Exchange(expected=target.facts())
    exchange.contract += [f"ALTER TABLE {home} ALTER COLUMN {ident(c)} SET DEFAULT {d}" for c, d in defaults.items()]
    hidden = dict.fromkeys(
        c for s, t in zip(sources, tables, strict=True) for c in resolve.hidden(declaration, s, t).values()
    )
    hidden |= {resolve.ORIGIN: None} if len(sides) > 1 else {}
    if len(sides) > 1 and any(side.filled or side.unfilled for side in sides):
        raise BadInput(
            f"{change}: of several sources no column can be worked out anew",
            next="merge them in one change, and change the columns in the next",
            page="runbooks/changes.md#declaring",
        )
    partitioned = target.kind == "p"
    late = bindings.late_checks(first, target, leave, exchange, say)
    after_copy, constraints = ([], []) if partitioned else bindings.after_copy(target, key, say)
    foreign_keys, foreign_tables = bindings.foreign_keys(first, target, renamed, leave, exchange)
    for source, table, side in zip(sources, tables, sides, strict=True):
        names = resolve.renames(source, table)
        belongings.triggers(table, target, leave, exchange, first=table is first)
        belongings.sequences(table, target, names, home, exchange)
        belongings.grants(table, target, names, exchange, say)
        belongings.publications(table, target, names, leave, exchange)
        views.exchange(table, side, target.relation, len(sides) > 1, leave, stay, exchange, say)
    sides = [
        side.model_copy(update={
            "moving": bool([k for k in key if k not in side.held_key]),
            "moved": [c for c in side.retyped if c in defaults],
        }) for side in sides
    ]  # fmt: skip
    exchange.contract += [
        f"ALTER STATISTICS {ident(s['schema'])}.{ident(s['name'])} SET SCHEMA {ident(first.schema_)}"
        for s in target.statistics
    ]
    if not declaration.target.partition:
        exchange.contract += [
            grant
            for p in first.partitions
            for grant in carry.grants(p["grants"], f"{ident(first.schema_)}.{ident(p['name'])}")
        ]
    held = resolve.held(target)
    by_name = {c.name: c for c in target.columns}
    if missing := [k for k in key if k not in by_name]:
        raise BadInput(
            f"target.key names {', '.join(missing)}, which the target does not have", next="correct change.yml"
        )
    return Shape(
        change=change, schema_=first.schema_, new_schema=target.schema_, old_schema=versioned(first.schema_, "v1"),
        name=target.name, target=target.relation, home=home, columns=held, key=key,
        nullable_key=[k for k in key if not by_name[k].not_null], partitioned=partitioned,
        partitions=[f"{ident(p['schema'])}.{ident(p['name'])}" for p in target.partitions],
        leaves=[f"{ident(p['schema'])}.{ident(p['name'])}" for p in target.partitions if not p["partition_key"]],
        one_row=len(sides) == 1 and set(sides[0].held_key) < set(key), merged=len(sides) > 1,
        deferrable=any(not i.immediate for i in target.indexes), sides=sides, after_copy=after_copy, constraints=constraints,
        foreign_keys=foreign_keys, foreign_key_tables=foreign_tables, expected=exchange.expected,
        swap_before=exchange.swap_before, swap=exchange.swap, revert_before=[*late, *exchange.revert_before],
        revert=exchange.revert, left=exchange.left, contract=exchange.contract, discard=exchange.discard,
        hidden=[f"ALTER TABLE {home} DROP COLUMN {ident(name)}" for name in hidden],
        children=bindings.children(tables, sides, leave),
        old_partitions={t.relation: [f"{ident(p['schema'])}.{ident(p['name'])}" for p in t.partitions] for t in tables},
    )  # fmt: skip
