"""Constraints and indexes on their way to the authority: what is built after the copy, what waits for the swap."""

from __future__ import annotations

from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import Description, ident
from rollout.engine.rewrite.exchanged import Exchange, Say
from rollout.engine.rewrite.shape import Side, versioned


def late_checks(first: Description, target: Description, leave: set[str], exchange: Exchange, say: Say) -> list[str]:
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


def after_copy(target: Description, key: list[str], say: Say) -> tuple[list[tuple[str, str]], list[str]]:
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


def foreign_keys(
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


def children(tables: list[Description], sides: list[Side], leave: set[str]) -> list[dict[str, object]]:
    """Return the foreign keys of others: they stay on the old table until contract, and lock the target first where they can."""
    held = [dict(zip(side.key, side.held_key, strict=True)) for side in sides]
    return [
        {**k, "leave": k["name"] in leave,
         "holds": [by_name[c] for c in k["referenced"]] if set(k["referenced"]) <= set(by_name) else None}
        for table, by_name in zip(tables, held, strict=True) for k in table.referenced_by
    ]  # fmt: skip
