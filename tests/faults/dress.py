"""All that stands on a table: keys, foreign keys in and out, triggers, policies, views, grants and what else Postgres has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from cases import Case, Column, q
from draws import LONG, Draw, Names, chance, one
from universe import KIT

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
UNINDEXED = ("json", "point", "bytea", "xml")
Wearer = Callable[[Draw, Case, Names], Case]


def dressed(draw: Draw, case: Case, names: Names) -> Case:
    """Return the case with a drawn part of everything that a table may have and its change can carry."""
    wearers: list[tuple[float, Wearer]] = [
        (0.2, _partitioned), (0.6, _index), (0.5, _index), (0.3, _unique), (0.3, _checked), (0.3, _excluded), (0.35, _lookup),
        (0.3, _child), (0.25, _self), (0.35, _stamped), (0.35, _traced), (0.3, _secured), (0.35, _seen), (0.4, _granted),
        (0.4, _commented), (0.3, _published), (0.4, _stored),
    ]  # fmt: skip
    for share, wear in wearers:
        if chance(draw, share):
            case = wear(draw, case, names)
    return case


def _and(case: Case, *statements: str) -> Case:
    return replace(case, after=(*case.after, *(s.replace("<table>", q(case.table)) for s in statements)))


def _with(case: Case, column: Column) -> Case:
    return replace(case, columns=(*case.columns, column))


def _split(case: Case) -> bool:
    """Whether source or target is partitioned: unique keys then need the partition's column."""
    return bool(case.partition or "partition" in case.target)


def _narrow(case: Case) -> bool:
    """Whether the target has no unique key on the source's key alone, which a foreign key needs."""
    return "key" in case.target


def _partitioned(draw: Draw, case: Case, _names: Names) -> Case:
    numbered = any(c.filled == "server" and c.kind != "serial" for c in case.columns)
    if case.target or (numbered and case.major < 17):
        return case
    parts = [f"CREATE TABLE {q(f'piece {n}')} PARTITION OF <table> FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in (0, 1)]
    return _and(replace(case, partition=f"PARTITION BY HASH ({q(case.key[0])})"), *parts)


def _index(draw: Draw, case: Case, _names: Names) -> Case:
    name = q(one(draw, "plain_idx", "An Index", f"{LONG}i", f"{LONG}j"))
    column = one(draw, *(c for c in case.columns if c.kind not in UNINDEXED))
    if "VIRTUAL" in column.rest or any(name in s for s in case.after):
        return case
    counter, word = q(case.counter), q(case.word)
    what = one(draw, f"({q(column.name)})", f"({q(column.name)} DESC NULLS LAST, {counter})", f"({counter}) WHERE {counter} > 3",
               f"(lower({word}), ({counter} + 1))", f"({counter}) INCLUDE ({word})", f"({word} text_pattern_ops) WITH (fillfactor = 60)",
               f"USING hash ({word})", f"USING brin ({counter})")  # fmt: skip
    return _and(case, f"CREATE INDEX {name} ON <table> {what}")


def _unique(draw: Draw, case: Case, names: Names) -> Case:
    if _split(case):
        return case
    column = Column(next(names), one(draw, "text", "uuid", "timestamptz", "inet"), fresh=True)
    name = q(column.name)
    what = one(draw, f"CREATE UNIQUE INDEX own_idx ON <table> ({name}) WHERE {q(case.counter)} IS NOT NULL",
               f"CREATE UNIQUE INDEX own_idx ON <table> ((md5({name}::text)))" if column.kind in ("text", "uuid") else
               f"CREATE UNIQUE INDEX own_idx ON <table> ({name})",
               f'ALTER TABLE <table> ADD CONSTRAINT "Own Key" UNIQUE NULLS NOT DISTINCT ({name}) INCLUDE ({q(case.counter)})',
               f"ALTER TABLE <table> ADD CONSTRAINT own_key UNIQUE ({name}) DEFERRABLE INITIALLY DEFERRED")  # fmt: skip
    case = _with(case, column)
    if "DEFERRED" in what:
        case = replace(case, deferred=(*case.deferred, "own_key"))
    return _and(case, what)


def _checked(draw: Draw, case: Case, _names: Names) -> Case:
    name = q(one(draw, "small enough", f"{LONG}c"))
    if chance(draw, 0.5):
        return _and(case, f"ALTER TABLE <table> ADD CONSTRAINT {name} CHECK ({q(case.counter)} < 10)")
    # Not validated: some of the rows that stand break it.
    late = f"ALTER TABLE {q(case.table)} ADD CONSTRAINT {name} CHECK ({q(case.counter)} < 8 OR {q(case.word)} <> 'A') NOT VALID"
    return replace(case, late=(*case.late, late))


def _excluded(draw: Draw, case: Case, names: Names) -> Case:
    if _split(case):
        return case
    column, late = Column(next(names), "slot", fresh=True), one(draw, "", " DEFERRABLE INITIALLY DEFERRED")
    if late:
        case = replace(case, deferred=(*case.deferred, "no_overlap"))
    return _and(_with(case, column), f"ALTER TABLE <table> ADD CONSTRAINT no_overlap EXCLUDE USING gist ({q(column.name)} WITH &&){late}")


def _actions(draw: Draw, *, strict: bool = False) -> str:
    allowed = ACTIONS[:3] if strict else ACTIONS
    return f"ON DELETE {one(draw, *allowed)} ON UPDATE {one(draw, *allowed)}"


def _lookup(draw: Draw, case: Case, names: Names) -> Case:
    column = Column(next(names), "small", "DEFAULT NULL")
    late = one(draw, "", "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(_with(case, column), lookup=column.name, deferred=(*case.deferred, *(["to_lookups"] if late else [])))
    return _and(case, f"ALTER TABLE <table> ADD CONSTRAINT to_lookups FOREIGN KEY ({q(column.name)}) REFERENCES lookups {_actions(draw)}{late}")


def _child(draw: Draw, case: Case, _names: Names) -> Case:
    if _narrow(case):
        return case
    columns = [f"ref{n} {case.column(name).type}" for n, name in enumerate(case.key)]
    refs = ", ".join(f"ref{n}" for n in range(len(case.key)))
    key = ", ".join(q(name) for name in case.key)
    late = one(draw, "", "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(case, child=True, deferred=(*case.deferred, *(["of_table"] if late else [])))
    return _and(case, f"CREATE TABLE details (id bigint PRIMARY KEY, {', '.join(columns)}, note text,"
                f" CONSTRAINT of_table FOREIGN KEY ({refs}) REFERENCES <table> ({key}) {_actions(draw)}{late})")  # fmt: skip


def _self(draw: Draw, case: Case, names: Names) -> Case:
    if _narrow(case) or len(case.key) > 1:
        return case
    kind = {"serial": "int", "numbered": "int", "numbered8": "bigint"}.get(case.column(case.key[0]).kind, case.column(case.key[0]).kind)
    column = Column(next(names), kind)
    case = replace(_with(case, column), up=column.name)
    late = one(draw, "", " DEFERRABLE INITIALLY DEFERRED")
    case = replace(case, deferred=(*case.deferred, *(["to_itself"] if late else [])))
    return _and(case, f"ALTER TABLE <table> ADD CONSTRAINT to_itself FOREIGN KEY ({q(column.name)}) REFERENCES <table> ({q(case.key[0])})"
                f" {_actions(draw)}{late}")  # fmt: skip


def _told(case: Case) -> bool:
    """Whether the text of a trigger's function has the name of a column that changes in it, which is refused."""
    return bool({name.lower() for name in case.touched_columns} & set(re.findall(r"\w+", KIT.read_text().lower())))


def _stamped(draw: Draw, case: Case, _names: Names) -> Case:
    if _told(case):
        return case
    case = _with(case, Column("touched", "timestamptz", "DEFAULT now()", "default"))
    when = one(draw, "", f" WHEN (NEW.{q(case.counter)} IS NOT NULL)")
    made = f"CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON <table> FOR EACH ROW{when} EXECUTE FUNCTION kit.stamp()"
    return _and(case, made, *one(draw, [], [], ["ALTER TABLE <table> ENABLE ALWAYS TRIGGER stamp"]))


def _traced(draw: Draw, case: Case, _names: Names) -> Case:
    if _told(case):
        return case
    of = one(draw, "UPDATE", f"UPDATE OF {q(case.counter)}")
    made = (f"CREATE TRIGGER {q(one(draw, 'trace', 'Trace It', f'{LONG}t'))} AFTER INSERT OR DELETE OR {of} ON <table>"
            " FOR EACH ROW EXECUTE FUNCTION kit.trace('<schema>')")  # fmt: skip
    return _and(replace(case, traced=True), made)


def _secured(draw: Draw, case: Case, _names: Names) -> Case:
    force = one(draw, [], ["ALTER TABLE <table> FORCE ROW LEVEL SECURITY"])
    check = f" WITH CHECK ({q(case.counter)} IS DISTINCT FROM 4)" if chance(draw, 0.5) else ""
    return _and(case, f"CREATE POLICY {q(one(draw, 'everybody', 'Every Body'))} ON <table> USING (true){check}",
                f"CREATE POLICY reports ON <table> AS RESTRICTIVE FOR DELETE TO penguin_app USING ({q(case.counter)} IS DISTINCT FROM 5)",
                "ALTER TABLE <table> ENABLE ROW LEVEL SECURITY", *force)  # fmt: skip


def _seen(draw: Draw, case: Case, _names: Names) -> Case:
    columns = [*case.key, case.counter, case.word]
    listed = ", ".join(q(name) for name in columns)
    invoker = one(draw, "", " WITH (security_invoker = true)")
    made = [f"CREATE VIEW seen{invoker} AS SELECT {listed} FROM <table> WHERE {q(case.counter)} > 2"]
    # What reads a column that changes is left to the old table, and goes with it.
    left = [f"{_plain(case.schema)}.seen"] if set(columns) & case.touched_columns else []
    seen, writable = ["seen"], "seen" if not left and chance(draw, 0.5) else ""
    if chance(draw, 0.5) and not left:
        made.append(f"CREATE VIEW counted AS SELECT {q(case.counter)}, count(*) AS n FROM seen GROUP BY 1")
        seen.append("counted")
    if chance(draw, 0.5):
        made += [f"CREATE MATERIALIZED VIEW mat AS SELECT {listed} FROM <table>",
                 f"CREATE UNIQUE INDEX mat_idx ON mat ({', '.join(q(name) for name in case.key)})"]  # fmt: skip
        seen.append("mat")
        left.append(f"{_plain(case.schema)}.mat")
    return _and(replace(case, seen=tuple(seen), writable=writable, leave=(*case.leave, *left)), *made)


def _plain(name: str) -> str:
    return name if name.islower() and name.isidentifier() else q(name)


def _granted(draw: Draw, case: Case, _names: Names) -> Case:
    return _and(case, f"GRANT SELECT ({q(case.counter)}), UPDATE ({q(case.word)}) ON <table> TO auditor",
                "GRANT SELECT ON <table> TO PUBLIC", f"GRANT REFERENCES ({q(case.key[0])}) ON <table> TO auditor WITH GRANT OPTION")  # fmt: skip


def _commented(draw: Draw, case: Case, _names: Names) -> Case:
    statistics = 'CREATE STATISTICS "Some Stats" (dependencies, mcv) ON {}, {} FROM <table>'
    return _and(case, "COMMENT ON TABLE <table> IS 'it''s \"mine\" 100%'", f"COMMENT ON COLUMN <table>.{q(case.counter)} IS 'counts'",
                statistics.format(q(case.counter), q(case.word)), "COMMENT ON STATISTICS \"Some Stats\" IS 'both'",
                'ALTER STATISTICS "Some Stats" SET STATISTICS 50')  # fmt: skip


def _published(draw: Draw, case: Case, _names: Names) -> Case:
    full = "ALTER TABLE <table> REPLICA IDENTITY FULL"
    key = case.key[0]
    # A row filter may only name built-in types, the replica identity's columns, and nothing that changes.
    plain = not (_split(case) or case.touched_columns or case.column(key).kind in ("mood", "code", "positive"))
    where = one(draw, "", f" WHERE ({q(key)} IS NOT NULL)") if plain else ""
    primary = any("PRIMARY KEY" in c for c in case.constraints)
    # A full identity holds generated columns, which are not published; partitions have identities of their own.
    may_be_full = not case.partition and not any(c.filled == "generated" for c in case.columns)
    if not primary and not may_be_full:
        return case
    identity = [full] if not primary or (may_be_full and chance(draw, 0.5)) else []
    return _and(case, *identity, f'CREATE PUBLICATION "feed of <schema>" FOR TABLE <table>{where}')


def _stored(draw: Draw, case: Case, _names: Names) -> Case:
    made = [f"ALTER TABLE <table> ALTER {q(case.word)} SET STORAGE EXTERNAL",
            f"ALTER TABLE <table> ALTER {q(case.counter)} SET STATISTICS 321", f"ALTER TABLE <table> ALTER {q(case.word)} SET (n_distinct = -0.5)"]  # fmt: skip
    if not case.partition:  # which does not reach partitions
        made.append(f"ALTER TABLE <table> ALTER {q(case.word)} SET COMPRESSION pglz")
        made.append("ALTER TABLE <table> SET (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false)")
    return _and(case, *made)
