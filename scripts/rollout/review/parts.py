"""Every statement of a change, stage by stage, as the stages run them; nothing here runs one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rollout.engine import constraining, renamed
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, VERIFIED
from rollout.engine.auditing import TRIGGER, TRUNCATED
from rollout.engine.changes import Change
from rollout.engine.renamed import Renamed
from rollout.engine.rewrite.carry import literal
from rollout.engine.rewrite.description import Description, ident
from rollout.engine.rewrite.statements import Statements
from rollout.engine.security import making
from rollout.engine.security.catalogue import Policy
from rollout.engine.security.rules import HIDDEN, Rules

CHUNK = "One chunk, in a transaction of its own; the next one begins behind the key that it returns."
ALONE = "Each in a transaction of its own."
OUTSIDE = "Outside a transaction; what is left invalid is dropped and built again."
FORGET = "DELETE FROM rollout.dirty WHERE change = "
# What stands for the values that the runner binds, so that the text runs and finds nothing where a key is missing.
VALUES = {"after": "NULL", "until": "NULL", "keys": "'{}'", "limit": "500", "most": "20", "percent": "1", "every": "1000"}
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class Part:
    """Statements of one stage that belong together.

    `together`: in one transaction; `mode`: the same, which first locks `relations` in it. Otherwise each stands alone.
    """

    stage: str
    note: str
    statements: Sequence[str]
    mode: str = ""
    relations: Sequence[str] = ()
    together: bool = False


def of_rewrite(change: Change, statements: Statements) -> Iterator[Part]:
    """Yield the parts of a rewrite whose shadow is made."""
    yield _arm(change, statements)
    yield from _file(change, "indexes", "indexes", OUTSIDE)
    for side in statements.shape.sides:
        yield from _copy(statements, side.bit)
    yield from _build(statements)
    yield from _works(change, "copy", "copy chunk")
    yield from _file(change, "validate", "validate", ALONE)
    yield from _compare(change, statements)
    shape, locks = statements.shape, change.declaration.locks
    sources, old = statements.authorities(), [side.old for side in shape.sides]
    lock = [*sources, shape.target, *statements.children(), *locks.swap]
    swap = [*_given(statements), *statements.note(armed=False), *statements.swap(), *_own(change, "swap")]
    yield Part("swap", "The names are exchanged, once what was written since is compared.", swap, ACCESS_EXCLUSIVE, lock)
    yield from _ranges(statements, reverse=True)
    lock = [*sources, shape.target, *old, *statements.children(), *locks.revert]
    revert = [*statements.revert(), *_own(change, "revert")]
    note = "Of a change that is compared and not swapped: nobody will swap soon, so the notes end."
    yield Part("revert", note, [FORGET + literal(change.name), *statements.note(armed=False)], ACCESS_EXCLUSIVE, sources)
    yield Part("revert", "The swap, the other way; the shadow stays in step.", revert, ACCESS_EXCLUSIVE, lock)
    yield from _prepare_contract(change)
    for child, add, validate in statements.rebind_children():
        note = f"The foreign key of {child} gets the target."
        yield Part("contract", note, [add], SHARE_ROW_EXCLUSIVE, [child, shape.target])
        yield Part("contract", ALONE, [validate])
    lock = [*sources, shape.target, *old, *statements.children(every=True), *locks.contract]
    contract = [*statements.contract(), *_own(change, "contract")]
    note = "The old tables go, the target comes home. Only a restore leads back."
    yield Part("contract", note, contract, ACCESS_EXCLUSIVE, lock)
    discard = [*statements.note(armed=False), *statements.discard(), *_own(change, "discard")]
    lock = [*sources, shape.target, *locks.discard]
    yield Part("discard", "Before a swap only: shadow and sync go.", discard, ACCESS_EXCLUSIVE, lock)


def of_rename(change: Change, tables: Sequence[Description], exchanged: Sequence[Renamed]) -> Iterator[Part]:
    """Yield the parts of a rename; `tables`: those that are to be exchanged, `exchanged`: those that stand so."""
    schemas = dict.fromkeys(renamed.of(change.declaration, t).new_schema for t in tables)
    grantees = dict.fromkeys(str(g["grantee"]) for t in tables for g in t.grants)
    made = [f"CREATE SCHEMA IF NOT EXISTS {ident(s)}" for s in schemas]
    made += [f"GRANT USAGE ON SCHEMA {ident(s)} TO {g}" for s in schemas for g in grantees]
    yield Part("expand", "Where new clients look first.", [*made, *_own(change, "expand")], together=True)
    all_of = [*exchanged, *(renamed.of(change.declaration, t) for t in tables)]
    now = {f"{one.schema_}.{one.name}": one.new for one in all_of}

    def at(name: str) -> str:
        return now.get(name, ".".join(ident(part) for part in name.split(".", 1)))

    for table in tables:
        to = renamed.of(change.declaration, table)
        yield Part("swap", f"{to.name}: the old name becomes a view.", to.swap(table), ACCESS_EXCLUSIVE, [to.old])
    for one in change.declaration.constraints:
        mode = ACCESS_EXCLUSIVE if one.check else SHARE_ROW_EXCLUSIVE
        yield Part("swap", "It binds new rows.", [constraining.add(one, at)], mode, constraining.locks(one, at))
        yield Part("swap", "Repeated until it finds no row.", [constraining.mend(one, at, change.name)])
        yield Part("swap", ALONE, [constraining.validate(one, at)])
    yield Part("swap", "What holds then.", _own(change, "swap"), together=True)
    for one in reversed(change.declaration.constraints):
        yield Part("revert", "It goes.", [constraining.drop(one, at)], ACCESS_EXCLUSIVE, constraining.locks(one, at))
    for to in reversed(all_of):
        yield Part("revert", f"{to.name}: the swap, the other way.", to.revert(), ACCESS_EXCLUSIVE, [to.old, to.new])
    yield from _prepare_contract(change)
    for to in all_of:
        yield Part("contract", f"{to.name} comes home.", to.contract(), ACCESS_EXCLUSIVE, [to.old, to.new])
    yield Part("contract", "What holds then.", _own(change, "contract"), together=True)


def of_files(
    change: Change, backfill: Sequence[bytes], armed: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Iterator[Part]:
    """Yield the parts of a change that is its files; `backfill`: the first and a further chunk of its backfill; `armed`: of an
    audit, what its swap runs on each relation."""
    locks = change.declaration.locks
    if change.declaration.kind == "ddl":
        yield from _file(change, "expand", "expand", ALONE)
        yield Part("expand", "What holds then.", _verify(change, "expand"))
    else:
        yield Part("expand", "Without downtime for clients.", _own(change, "expand"), SHARE_ROW_EXCLUSIVE, locks.expand)
    yield from _file(change, "indexes", "indexes", OUTSIDE)
    yield from _works(change, "copy", "copy chunk")
    if backfill:
        yield Part("backfill chunk", CHUNK, [bound(statement.decode()) for statement in backfill])
    yield from _file(change, "validate", "validate", ALONE)
    for relation, statements in armed.items():
        yield Part("swap", f"From here on what is written to {relation} is audited.", statements, SHARE_ROW_EXCLUSIVE, [relation])
    for relation in armed:
        drop = [f"DROP TRIGGER IF EXISTS {name} ON {relation}" for name in (TRIGGER, TRUNCATED)]
        yield Part("revert", "It is no longer; the log stays.", drop, ACCESS_EXCLUSIVE, [relation])
    if change.swaps:
        yield Part("swap", "It takes effect.", _own(change, "swap"), ACCESS_EXCLUSIVE, locks.swap)
        yield Part("revert", "The swap, the other way.", _own(change, "revert"), ACCESS_EXCLUSIVE, locks.revert)
    yield from _prepare_contract(change)
    note = "What is old goes. Only a restore leads back."
    yield Part("contract", note, _own(change, "contract"), ACCESS_EXCLUSIVE, locks.contract)
    yield Part("discard", "What expand made goes.", _own(change, "discard"), ACCESS_EXCLUSIVE, locks.discard)


def of_security(rules: Rules) -> Iterator[Part]:
    """Yield the parts of a change of kind row_security over what stands here now."""
    views = [r for r in rules.relations.values() if r.kind == "v" and not rules.shared(r) and not r.option(making.INVOKER)]
    tables, shut = rules.covered(), [r for r in rules.materialised() if not r.name.endswith(HIDDEN)]
    for table in tables:
        note = f"{rules.called(table)} ({table.says}): whoever has no policy sees nothing."
        yield Part("swap", note, making.switch_on(rules, table), ACCESS_EXCLUSIVE, [table.relation])
    for view in views:
        yield Part("swap", "The view asks for the rights of whoever reads it.", making.invoke(view), together=True)
    for view in shut:
        note = "The materialised view is shut off, behind one that filters."
        yield Part("swap", note, making.cover(rules, view, making.found(view)), together=True)
    for view in shut:
        yield Part("revert", "It has its name back.", making.uncover(view, making.found(view)), together=True)
    for view in views:
        yield Part("revert", "As it was found.", making.invoke_no_more(view, making.found(view)), together=True)
    for table in reversed(tables):
        made = [
            Policy(name=name, permissive=True, command="*", roles=[], using=None, check=None)
            for name in making.names(rules, table)
        ]
        dressed = table.model_copy(update={"policies": made, "guarded": rules.merged(table)})
        undone = making.switch_off(dressed, making.found(table))
        yield Part("revert", f"{rules.called(table)}: as it was found.", undone, ACCESS_EXCLUSIVE, [table.relation])


def bound(statement: str) -> str:
    """Return a statement with values in place of psycopg's placeholders."""
    return PLACEHOLDER.sub(lambda match: VALUES[match[1]], statement).replace("%%", "%")


def _arm(change: Change, statements: Statements) -> Part:
    lock = [*statements.authorities(), *change.declaration.locks.expand]
    note = "From here on every write reaches the shadow. Writers wait, readers do not."
    return Part("arm", note, [*statements.arm(), *_own(change, "expand")], SHARE_ROW_EXCLUSIVE, lock)


def _copy(statements: Statements, bit: int) -> Iterator[Part]:
    shape = statements.shape
    side = next(side for side in shape.sides if side.bit == bit)
    for quick in (False,) if shape.merged else (True, False):
        chunks = [
            bound(statements.copy(side, after=after, quick=quick, bounded=bounded))
            for bounded in (False, True) for after in (False, True)
        ]  # fmt: skip
        first = f"Of {side.source_name}: the first chunk, a further one (its key stands for NULL), both of a lane. {CHUNK}"
        again = "The same chunk again, when a unique key is taken: a client has written the row already."
        yield Part("copy chunk", first if quick or shape.merged else again, chunks)


def _build(statements: Statements) -> Iterator[Part]:
    shape = statements.shape
    yield Part("build", OUTSIDE, [statement for _, statement in shape.after_copy])
    yield Part("build", "The indexes become constraints.", shape.constraints, ACCESS_EXCLUSIVE, [shape.target])
    lock = [shape.target, *shape.foreign_key_tables]
    yield Part("build", "Foreign keys out, unchecked yet.", statements.foreign_keys(), SHARE_ROW_EXCLUSIVE, lock)
    yield Part("validate", ALONE, statements.validate())
    note = "The partitions' foreign keys become the whole table's; nothing is read for that."
    yield Part("validate", note, statements.adopt(), SHARE_ROW_EXCLUSIVE, lock)
    yield Part("validate", ALONE, [f"ANALYZE {shape.target}"])


def _compare(change: Change, statements: Statements) -> Iterator[Part]:
    shape = statements.shape
    noted = [FORGET + literal(change.name), *statements.note(armed=True)]
    for side in shape.sides:
        note = f"Of {side.source_name}, after a revert only: rows that the old table could not hold leave the shadow."
        yield Part("compare", note, [bound(statement) for statement in statements.resync(side)])
    note = "Keys written from here on are noted, and compared again by the swap."
    yield Part("compare", note, noted, SHARE_ROW_EXCLUSIVE, statements.authorities())
    yield from _ranges(statements, reverse=False)


def _ranges(statements: Statements, *, reverse: bool) -> Iterator[Part]:
    """Compare range by range; the first one has no key to begin behind, the last one none to end at."""
    for side in statements.shape.sides:
        ranges = [("bound", False, False), ("bound", True, False), ("sample", False, False)]
        # A small table is one range, without a key to begin behind or to end at.
        ranges += [(half, inside, inside) for inside in (False, True) for half in ("authority", "shadow")]
        ranges += [("range", True, True)]
        said = [
            bound(statements.compare(side, what, reverse=reverse, after=after, until=until)) for what, after, until in ranges
        ]
        note = f"Of {side.source_name}: where a range of keys ends, or a sample of such keys; each side of it, both in one"
        note += " snapshot; and if they differ, where."
        yield Part("compare, swapped" if reverse else "compare", note, said)


def _given(statements: Statements) -> list[str]:
    return [bound(statements.compare(side, "given", reverse=False)) for side in statements.shape.sides]


def _prepare_contract(change: Change) -> Iterator[Part]:
    note = "After the point of no return, before anything is dropped."
    lock = change.declaration.locks.contract_prepare
    yield Part("contract", note, _own(change, "contract_prepare"), ACCESS_EXCLUSIVE, lock)
    yield from _file(change, "contract_indexes", "contract", OUTSIDE)
    yield from _works(change, "contract_copy", "contract")
    yield from _file(change, "contract_validate", "contract", ALONE)


def _own(change: Change, name: str) -> list[str]:
    """Return the change's own file and what verifies the stage."""
    text = change.sql(name)
    return [*([text.decode()] if text else []), *_verify(change, name)]


def _verify(change: Change, stage: str) -> list[str]:
    text = change.sql("verify")
    if stage not in VERIFIED or not text:
        return []
    return [f"SELECT set_config('rollout.stage', {literal(stage)}, true)", text.decode()]


def _file(change: Change, name: str, stage: str, note: str) -> Iterator[Part]:
    yield Part(stage, f"{name}.sql. {note}", [statement.decode() for statement in change.statements(name)])


def _works(change: Change, prefix: str, stage: str) -> Iterator[Part]:
    for name in change.works(prefix):
        yield Part(stage, f"{name}.sql. {CHUNK}", [bound((change.sql(name) or b"").decode())])
