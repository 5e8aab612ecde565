"""All that stands on a table: keys, foreign keys in and out, triggers, policies, views, grants and what else Postgres has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from cases import Case, Column, q
from constraints import and_then, checked, child, excluded, index, itself, lookup, split, unique, with_column
from draws import LONG, Draw, Names, chance, one
from universe import KIT

Wearer = Callable[[Draw, Case, Names], Case]


def dressed(draw: Draw, case: Case, names: Names, *, telling: bool = True) -> Case:
    """Return the case with a drawn part of everything that a table may have and its change can carry.

    `telling`: also what tells of its rows elsewhere.
    """
    wearers: list[tuple[float, Wearer]] = [
        (0.2, _partitioned),
        (0.6, index),
        (0.5, index),
        (0.3, unique),
        (0.3, checked),
        (0.3, excluded),
        (0.35, lookup),
        (0.3, child),
        (0.25, itself),
        (0.35, _stamped),
        (0.35, _traced),
        (0.3, _secured),
        (0.35, _seen),
        (0.4, _granted),
        (0.4, _commented),
        (0.3, _published),
        (0.4, _stored),
    ]
    for share, wear in wearers:
        if chance(draw, share) and (telling or wear not in (child, itself, _traced, _seen)):
            case = wear(draw, case, names)
    return case


def _partitioned(draw: Draw, case: Case, _names: Names) -> Case:
    numbered = any(c.filled == "server" and c.kind != "serial" for c in case.columns)
    if case.target or case.key[0] in case.widened or (numbered and case.major < 17):
        return case
    parts = [
        f"CREATE TABLE {q(f'piece {n}')} PARTITION OF <table> FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
        for n in (0, 1)
    ]
    return and_then(replace(case, partition=f"PARTITION BY HASH ({q(case.key[0])})"), *parts)


def _told(case: Case) -> bool:
    """Whether the text of a trigger's function has the name of a column that changes in it, which is refused."""
    said = KIT.read_text().lower() + " after insert or delete or update of before execute for each row"
    return bool({name.lower() for name in case.touched_columns} & set(re.findall(r"\w+", said)))


def _stamped(draw: Draw, case: Case, _names: Names) -> Case:
    if _told(case):
        return case
    case = with_column(case, Column("touched", "timestamptz", "DEFAULT now()", "default"))
    when = "" if case.counter in case.widened else one(draw, "", f" WHEN (NEW.{q(case.counter)} IS NOT NULL)")
    made = f"CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON <table> FOR EACH ROW{when} EXECUTE FUNCTION kit.stamp()"
    return and_then(case, made, *one(draw, [], [], ["ALTER TABLE <table> ENABLE ALWAYS TRIGGER stamp"]))


def _traced(draw: Draw, case: Case, _names: Names) -> Case:
    if _told(case):
        return case
    of = "UPDATE" if case.counter in case.widened else one(draw, "UPDATE", f"UPDATE OF {q(case.counter)}")
    made = (
        f"CREATE TRIGGER {q(one(draw, 'trace', 'Trace It', f'{LONG}t'))} AFTER INSERT OR DELETE OR {of} ON <table>"
        " FOR EACH ROW EXECUTE FUNCTION kit.trace('<schema>')"
    )
    return and_then(replace(case, traced=True), made)


def _secured(draw: Draw, case: Case, _names: Names) -> Case:
    force = one(draw, [], ["ALTER TABLE <table> FORCE ROW LEVEL SECURITY"])
    check = f" WITH CHECK ({q(case.counter)} IS DISTINCT FROM 4)" if chance(draw, 0.5) else ""
    return and_then(
        case,
        f"CREATE POLICY {q(one(draw, 'everybody', 'Every Body'))} ON <table> USING (true){check}",
        f"CREATE POLICY reports ON <table> AS RESTRICTIVE FOR DELETE TO penguin_app USING ({q(case.counter)} IS DISTINCT FROM 5)",
        "ALTER TABLE <table> ENABLE ROW LEVEL SECURITY",
        *force,
    )


def _seen(draw: Draw, case: Case, _names: Names) -> Case:
    columns = [*case.key, case.counter, case.word]
    listed = ", ".join(q(name) for name in columns)
    invoker = one(draw, "", " WITH (security_invoker = true)")
    made = [f"CREATE VIEW seen{invoker} AS SELECT {listed} FROM <table> WHERE {q(case.counter)} > 2"]
    # What reads a column that changes, or a table whose name does, is left to the old table and goes with it.
    left = [f"{_plain(case.schema)}.seen"] if set(columns) & case.touched_columns or case.renamed else []
    seen, writable = ["seen"], "seen" if not left and chance(draw, 0.5) else ""
    if chance(draw, 0.5) and not left:
        made.append(f"CREATE VIEW counted AS SELECT {q(case.counter)}, count(*) AS n FROM seen GROUP BY 1")
        seen.append("counted")
    if chance(draw, 0.5):
        made += [
            f"CREATE MATERIALIZED VIEW mat AS SELECT {listed} FROM <table>",
            f"CREATE UNIQUE INDEX mat_idx ON mat ({', '.join(q(name) for name in case.key)})",
        ]
        seen.append("mat")
        left.append(f"{_plain(case.schema)}.mat")
    return and_then(replace(case, seen=tuple(seen), writable=writable, leave=(*case.leave, *left)), *made)


def _plain(name: str) -> str:
    return name if name.islower() and name.isidentifier() else q(name)


def _granted(draw: Draw, case: Case, _names: Names) -> Case:
    return and_then(
        case,
        f"GRANT SELECT ({q(case.counter)}), UPDATE ({q(case.word)}) ON <table> TO auditor",
        "GRANT SELECT ON <table> TO PUBLIC",
        f"GRANT REFERENCES ({q(case.key[0])}) ON <table> TO auditor WITH GRANT OPTION",
    )


def _commented(draw: Draw, case: Case, _names: Names) -> Case:
    statistics = 'CREATE STATISTICS "Some Stats" (dependencies, mcv) ON {}, {} FROM <table>'
    return and_then(
        case,
        "COMMENT ON TABLE <table> IS 'it''s \"mine\" 100%'",
        f"COMMENT ON COLUMN <table>.{q(case.counter)} IS 'counts'",
        statistics.format(q(case.counter), q(case.word)),
        "COMMENT ON STATISTICS \"Some Stats\" IS 'both'",
        'ALTER STATISTICS "Some Stats" SET STATISTICS 50',
    )


def _published(draw: Draw, case: Case, _names: Names) -> Case:
    full = "ALTER TABLE <table> REPLICA IDENTITY FULL"
    key = case.key[0]
    # A row filter may only name built-in types, the replica identity's columns, and nothing that changes.
    plain = not (split(case) or case.touched_columns or case.column(key).kind in ("mood", "code", "positive"))
    where = one(draw, "", f" WHERE ({q(key)} IS NOT NULL)") if plain else ""
    primary = any("PRIMARY KEY" in c for c in case.constraints)
    # A full identity holds generated columns, which are not published; partitions have identities of their own.
    may_be_full = not case.partition and not any(c.filled == "generated" for c in case.columns)
    if not primary and not may_be_full:
        return case
    identity = [full] if not primary or (may_be_full and chance(draw, 0.5)) else []
    return and_then(case, *identity, f'CREATE PUBLICATION "feed of <schema>" FOR TABLE <table>{where}')


def _stored(draw: Draw, case: Case, _names: Names) -> Case:
    made = [
        f"ALTER TABLE <table> ALTER {q(case.word)} SET STORAGE EXTERNAL",
        f"ALTER TABLE <table> ALTER {q(case.counter)} SET STATISTICS 321",
        f"ALTER TABLE <table> ALTER {q(case.word)} SET (n_distinct = -0.5)",
    ]
    if not case.partition:  # which does not reach partitions
        made.append(f"ALTER TABLE <table> ALTER {q(case.word)} SET COMPRESSION pglz")
        made.append(
            "ALTER TABLE <table> SET (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false)"
        )
    return and_then(case, *made)
