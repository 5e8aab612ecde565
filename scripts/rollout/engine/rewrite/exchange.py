"""What a swap exchanges besides the names, as statements: triggers, foreign keys, sequences, privileges, publications, views.

Each is written beside its undo: the swap's list and the revert's are made together.
"""

from __future__ import annotations

from rollout.engine.declaration import Declaration
from rollout.engine.rewrite import carry, resolve, views
from rollout.engine.rewrite.description import Description, Trigger, ident, split
from rollout.engine.rewrite.exchanged import Exchange, Say
from rollout.engine.rewrite.shape import Shape, Side, versioned
from rollout.errors import BadInput

STATES = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


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
    late = _late_checks(first, target, leave, exchange, say)
    after_copy, constraints = ([], []) if partitioned else _after_copy(target, key, say)
    foreign_keys, foreign_tables = _foreign_keys(first, target, renamed, leave, exchange)
    for source, table, side in zip(sources, tables, sides, strict=True):
        names = resolve.renames(source, table)
        _triggers(table, target, leave, exchange, first=table is first)
        _sequences(table, target, names, home, exchange)
        _grants(table, target, names, exchange, say)
        _publications(table, target, names, leave, exchange)
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
        revert=exchange.revert, left=exchange.left, contract=exchange.contract,
        hidden=[f"ALTER TABLE {home} DROP COLUMN {ident(name)}" for name in hidden], children=_children(tables, sides, leave),
        old_partitions={t.relation: [f"{ident(p['schema'])}.{ident(p['name'])}" for p in t.partitions] for t in tables},
    )  # fmt: skip


def _late_checks(first: Description, target: Description, leave: set[str], exchange: Exchange, say: Say) -> list[str]:
    """Take checks that are NOT VALID off the shadow; they come back, NOT VALID, at the swap. Return what revert begins with."""
    names = {k.name for k in carry.late_checks(first)} - leave
    undo = []
    for check in [k for k in target.constraints if k.name in names]:
        say(f"ALTER TABLE {target.relation} DROP CONSTRAINT {ident(check.name)}")
        exchange.swap.append(
            f"ALTER TABLE {target.relation} ADD CONSTRAINT {ident(check.name)} {check.definition} NOT VALID"
        )
        if check.comment:
            exchange.swap.append(
                f"COMMENT ON CONSTRAINT {ident(check.name)} ON {target.relation} IS {carry.literal(check.comment)}"
            )
        undo.append(f"ALTER TABLE {target.relation} DROP CONSTRAINT {ident(check.name)}")
        exchange.expected[f"constraint {check.name}"] = f"{check.definition} NOT VALID False {check.comment}"
    return undo


def _after_copy(target: Description, key: list[str], say: Say) -> tuple[list[tuple[str, str]], list[str]]:
    """Drop from the empty shadow every index that the copy does not need; return how each is built, and bound, after it."""
    indexes: list[tuple[str, str]] = []
    constraints: list[str] = []
    by_name = {k.name: k for k in target.constraints}
    usable = [i for i in target.indexes if i.unique and i.plain and i.immediate and set(i.columns or []) == set(key)]
    keep = {next((i for i in usable if i.primary), usable[0]).name}
    for index in target.indexes:
        constraint = by_name.get(index.constraint or "")
        if index.name in keep or index.replica or (constraint and (constraint.type == "x" or index.gist)):
            continue
        build = index.definition.replace(" INDEX ", " INDEX CONCURRENTLY IF NOT EXISTS ", 1)
        indexes.append((f"{ident(target.schema_)}.{ident(index.name)}", build))
        if constraint:
            say(f"ALTER TABLE {target.relation} DROP CONSTRAINT {ident(constraint.name)}")
            kind = "PRIMARY KEY" if constraint.type == "p" else "UNIQUE"
            when = " DEFERRABLE" if constraint.deferrable else ""
            when += " INITIALLY DEFERRED" if constraint.deferred else ""
            constraints.append(
                f"ALTER TABLE {target.relation} ADD CONSTRAINT {ident(constraint.name)} {kind}"
                f" USING INDEX {ident(index.name)}{when}"
            )
            if constraint.comment:
                constraints.append(
                    f"COMMENT ON CONSTRAINT {ident(constraint.name)} ON {target.relation} IS {carry.literal(constraint.comment)}"
                )
        else:
            say(f"DROP INDEX {ident(target.schema_)}.{ident(index.name)}")
        for number, statistics in index.statistics or []:
            constraints.append(
                f"ALTER INDEX {ident(target.schema_)}.{ident(index.name)} ALTER COLUMN {number} SET STATISTICS {statistics}"
            )
        if index.comment:
            constraints.append(
                f"COMMENT ON INDEX {ident(target.schema_)}.{ident(index.name)} IS {carry.literal(index.comment)}"
            )
        if index.clustered:
            constraints.append(f"ALTER TABLE {target.relation} CLUSTER ON {ident(index.name)}")
    return indexes, constraints


def _foreign_keys(
    first: Description, target: Description, renamed: dict[str, str], leave: set[str], exchange: Exchange
) -> tuple[dict[str, str], list[str]]:
    """Keep foreign keys out as declared on the authority, and deferred on the shadow. Return them, and the tables they lock."""
    made: dict[str, str] = {}
    tables: list[str] = []
    for k in [k for k in first.constraints if k.type == "f" and k.name not in leave]:
        declared = carry.foreign_key(k, target.relation, renamed)
        name, old = ident(k.name), f"{ident(versioned(first.schema_, 'v1'))}.{ident(first.name)}"
        exchange.expected[f"constraint {k.name}"] = f"{target.rebound(declared, '<self>')} {k.validated} {k.comment}"
        comment = (
            f"COMMENT ON CONSTRAINT {name} ON {target.relation} IS {carry.literal(k.comment)}" if k.comment else ""
        )
        if k.validated:
            made[k.name] = carry.deferred(declared)
            when = _when(k.deferrable, k.deferred)
            exchange.swap += [
                f"ALTER TABLE {target.relation} ALTER CONSTRAINT {name} {when}",
                *([comment] if comment else []),
            ]
            exchange.revert_before.append(
                f"ALTER TABLE {target.relation} ALTER CONSTRAINT {name} DEFERRABLE INITIALLY DEFERRED"
            )
        else:
            exchange.swap += [
                f"ALTER TABLE {target.relation} ADD CONSTRAINT {name} {declared}",
                *([comment] if comment else []),
            ]
            exchange.revert_before.append(f"ALTER TABLE {target.relation} DROP CONSTRAINT {name}")
        exchange.swap.append(f"ALTER TABLE {old} ALTER CONSTRAINT {name} DEFERRABLE INITIALLY DEFERRED")
        exchange.revert.append(
            f"ALTER TABLE {first.relation} ALTER CONSTRAINT {name} {_when(k.deferrable, k.deferred)}"
        )
        if k.references and not k.references_self:
            tables.append(k.references)
    return made, list(dict.fromkeys(tables))


def _when(deferrable: bool, deferred: bool) -> str:
    return (
        ("DEFERRABLE" + (" INITIALLY DEFERRED" if deferred else " INITIALLY IMMEDIATE"))
        if deferrable
        else "NOT DEFERRABLE"
    )


def _triggers(table: Description, target: Description, leave: set[str], exchange: Exchange, *, first: bool) -> None:
    """Let user triggers fire on the authority only."""

    def armed(relation: str, trigger: Trigger) -> list[str]:
        return (
            [f"ALTER TABLE {relation} {STATES[trigger.enabled]} TRIGGER {ident(trigger.name)}"]
            if trigger.enabled in STATES
            else []
        )

    for t in table.triggers:
        exchange.swap_before.append(f"ALTER TABLE {table.relation} DISABLE TRIGGER {ident(t.name)}")
        exchange.revert += armed(table.relation, t)
        if first and t.name not in leave:
            exchange.swap += armed(target.relation, t)
            exchange.revert_before.append(f"ALTER TABLE {target.relation} DISABLE TRIGGER {ident(t.name)}")
            name = f"trigger {t.name}"
            exchange.expected[name] = exchange.expected[name].replace(" enabled=D ", f" enabled={t.enabled} ")


def _sequences(table: Description, target: Description, renamed: dict[str, str], home: str, exchange: Exchange) -> None:
    """Move the state of an identity's sequence, of which each table has its own; leave a serial's only one where it is."""
    for c in table.columns:
        new = target.column(renamed[c.name])
        if c.sequence is None or new is None:
            continue
        if not c.identity:
            exchange.swap_before.append(f"ALTER SEQUENCE {c.sequence} OWNED BY NONE")
            exchange.revert.append(f"ALTER SEQUENCE {c.sequence} OWNED BY {table.relation}.{ident(c.name)}")
            exchange.contract.append(f"ALTER SEQUENCE {c.sequence} OWNED BY {home}.{ident(new.name)}")
            if new.type != c.type and new.type in (
                "integer",
                "bigint",
            ):  # a column that is widened outgrows its old sequence
                exchange.swap.append(f"ALTER SEQUENCE {c.sequence} AS {new.type}")
                # A revert never fails for a number that has outgrown the old type.
                exchange.revert.append(
                    f"DO $$BEGIN ALTER SEQUENCE {c.sequence} AS {c.type};"
                    " EXCEPTION WHEN invalid_parameter_value THEN NULL; END$$"
                )
        elif new.sequence:
            exchange.swap_before.append(_state(new.sequence, c.sequence))
            exchange.revert.append(_state(c.sequence, new.sequence))
            (_, own), (_, twin) = split(c.sequence), split(new.sequence)
            if own != twin:
                exchange.contract.append(f"ALTER SEQUENCE {ident(table.schema_)}.{ident(twin)} RENAME TO {ident(own)}")
            exchange.contract += carry.grants(c.sequence_grants or [], f"SEQUENCE {ident(table.schema_)}.{ident(own)}")
            if (
                not new.identity
            ):  # before Postgres 17 no partitioned table has an identity: a sequence of its own stands in
                writers = dict.fromkeys(g["grantee"] for g in table.grants if g["privilege"] == "INSERT")
                exchange.swap += [f"GRANT USAGE ON SEQUENCE {new.sequence} TO {w}" for w in writers]
                exchange.revert_before += [f"REVOKE ALL ON SEQUENCE {new.sequence} FROM {w}" for w in writers]
                continue
            if c.identity == "a":
                old = f"{ident(versioned(table.schema_, 'v1'))}.{ident(table.name)}"
                exchange.swap += [
                    f"ALTER TABLE {target.relation} ALTER COLUMN {ident(new.name)} SET GENERATED ALWAYS",
                    f"ALTER TABLE {old} ALTER COLUMN {ident(c.name)} SET GENERATED BY DEFAULT",
                ]
                exchange.revert_before.append(
                    f"ALTER TABLE {target.relation} ALTER COLUMN {ident(new.name)} SET GENERATED BY DEFAULT"
                )
                exchange.revert.append(
                    f"ALTER TABLE {table.relation} ALTER COLUMN {ident(c.name)} SET GENERATED ALWAYS"
                )
                name = f"column {new.name}"
                exchange.expected[name] = exchange.expected[name].replace(" identity d ", " identity a ")


def _state(to: str, of: str) -> str:
    # Not undone when the transaction is, which is right: only the side that is not yet the authority is touched.
    return f"SELECT setval({carry.literal(to)}, s.last_value, s.is_called) FROM {of} AS s"


def _grants(table: Description, target: Description, renamed: dict[str, str], exchange: Exchange, say: Say) -> None:
    """Give the authority its privileges; nobody has any on a shadow."""
    known = {c.name for c in target.columns}
    grantees = dict.fromkeys(g["grantee"] for g in table.grants)
    for g in table.grants:
        column = renamed.get(g["column"] or "")
        if g["column"] and column not in known:
            continue
        on = f" ({ident(column)})" if column else ""
        option = " WITH GRANT OPTION" if g["grantable"] else ""
        exchange.swap.append(f"GRANT {g['privilege']}{on} ON {target.relation} TO {g['grantee']}{option}")
        where = f" on column {column}" if column else ""
        exchange.expected[f"privilege {g['privilege']}{where} of {g['grantee']}"] = f"grantable {g['grantable']}"
    for grantee in grantees:
        # Not in the swap: a change of a schema makes every session plan anew. Without privileges on a table it gives nothing.
        say(f"GRANT USAGE ON SCHEMA {ident(target.schema_)} TO {grantee}")
        exchange.revert_before.append(f"REVOKE ALL ON {target.relation} FROM {grantee}")


def _publications(
    table: Description, target: Description, renamed: dict[str, str], leave: set[str], exchange: Exchange
) -> None:
    """Publish the authority."""
    for p in table.publications:
        where = f" WHERE ({p['where']})" if p["where"] else ""
        was = f" ({carry.names(p['columns'])})" if p["columns"] else ""
        is_now = f" ({carry.names(renamed[c] for c in p['columns'])})" if p["columns"] else ""
        exchange.swap_before.append(f"ALTER PUBLICATION {ident(p['name'])} DROP TABLE {table.relation}")
        exchange.revert.append(f"ALTER PUBLICATION {ident(p['name'])} ADD TABLE {table.relation}{was}{where}")
        if p["name"] not in leave:
            exchange.swap.append(f"ALTER PUBLICATION {ident(p['name'])} ADD TABLE {target.relation}{is_now}{where}")
            exchange.revert_before.append(f"ALTER PUBLICATION {ident(p['name'])} DROP TABLE {target.relation}")
            columns = [renamed[c] for c in p["columns"]] if p["columns"] else None
            exchange.expected[f"publication {p['name']}"] = f"{p['where']} {columns}"


def _children(tables: list[Description], sides: list[Side], leave: set[str]) -> list[dict[str, object]]:
    """Return the foreign keys of others: they stay on the old table until contract, and lock the target first where they can."""
    held = [dict(zip(side.key, side.held_key, strict=True)) for side in sides]
    return [
        {**k, "leave": k["name"] in leave,
         "holds": [by_name[c] for c in k["referenced"]] if set(k["referenced"]) <= set(by_name) else None}
        for table, by_name in zip(tables, held, strict=True) for k in table.referenced_by
    ]  # fmt: skip
