"""What a change declares about a case: nothing, or any of its differences together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cases import Added, Case, Column, q
from draws import Draw, Names, chance, one
from hypothesis import strategies as st
from kinds import TEMPLATES

THE_KEY = "The Key"
WIDER = {
    "int": "bigint",
    "small": "bigint",
    "int2": "integer",
    "varchar": "text",
    "numbered": "bigint",
    "serial": "bigint",
}


def differing(draw: Draw, case: Case, names: Names) -> Case:
    """Return the case with a change that fits it, and with the columns that the change is about."""
    if chance(draw, 0.25):
        return case
    for share, declare in (
        (0.4, _renamed),
        (0.4, _added),
        (0.35, _dropped),
        (0.3, _widened),
        (0.4, _laid_out),
        (0.2, _named),
    ):
        if chance(draw, share):
            case = declare(draw, case, names)
    return case


def _renamed(draw: Draw, case: Case, names: Names) -> Case:
    chosen = draw(st.lists(st.sampled_from([c.name for c in case.columns]), min_size=1, max_size=3, unique=True))
    if len(chosen) == 2 and chance(draw, 0.3):
        return replace(case, rename={chosen[0]: chosen[1], chosen[1]: chosen[0]})
    return replace(case, rename={name: next(names) for name in chosen})


def _added(draw: Draw, case: Case, names: Names) -> Case:
    added = []
    for _ in range(draw(st.integers(1, 2))):
        template = one(draw, *(t for t in TEMPLATES if t != "'fixed'"))
        strict = " NOT NULL DEFAULT 'none'" if "coalesce" in template else ""
        added.append(Added(next(names), f"text{strict}", case.word, template))
    return replace(case, added=tuple(added))


def _dropped(draw: Draw, case: Case, names: Names) -> Case:
    template = one(draw, *TEMPLATES)
    rest, filled = ("DEFAULT 'fixed'", "default") if template == "'fixed'" else ("", "client")
    column = Column(next(names), "plain", rest, filled, derived=(case.word, template))
    at = draw(st.integers(0, len(case.columns)))
    columns = (*case.columns[:at], column, *case.columns[at:])
    return replace(case, columns=columns, dropped=(column.name,))


def _widened(draw: Draw, case: Case, _names: Names) -> Case:
    wider = [c for c in case.columns if c.kind in WIDER and c.filled != "generated"]
    # Postgres does not alter the type of what a generated column is made of.
    if any(c.filled == "generated" for c in case.columns):
        wider = [c for c in wider if c.name != case.counter]
    if not wider:
        return case
    column = one(draw, *wider)
    return replace(case, widened={column.name: WIDER[column.kind]})


def _laid_out(draw: Draw, case: Case, names: Names) -> Case:
    """Partition the target, give it a wider key, or both."""
    how, key = one(draw, "hash", "list", "range", "wider"), list(case.key)
    renamed = lambda name: case.rename.get(name, name)
    if how == "hash" and key[-1] in case.widened:
        return case  # refused: it is partitioned by what gets another type
    if how == "hash":
        parts = {f"part_{n}": f"FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)}
        layout: dict[str, Any] = {"by": "hash", "columns": [renamed(key[-1])], "partitions": parts}
        return replace(case, target={"partition": layout})
    column = Column(next(names), "mood" if how != "range" else "date", "NOT NULL", nullable=False)
    at = draw(st.integers(0, len(case.columns)))
    case = replace(case, columns=(*case.columns[:at], column, *case.columns[at:]))
    target: dict[str, Any] = {"key": [renamed(name) for name in [*key, column.name]]}
    bounds = {"part_a": "FOR VALUES IN ('ok')", "part_b": "FOR VALUES IN ('sad', 'happy')", "Part Rest": "DEFAULT"}
    if how == "range":
        bounds = {
            "part_old": "FOR VALUES FROM (MINVALUE) TO ('2011-01-01')",
            "Part New": "FOR VALUES FROM ('2011-01-01') TO (MAXVALUE)",
        }
    if how != "wider":
        # The key that stands lacks the partitions' column: it is named, to be left behind.
        kind = "PRIMARY KEY" if "PRIMARY KEY" in case.constraints[0] else "UNIQUE"
        constraint = f"CONSTRAINT {q(THE_KEY)} {kind} ({', '.join(q(name) for name in case.key)})"
        case = replace(case, constraints=(constraint,), leave=(*case.leave, THE_KEY))
        target["partition"] = {"by": how, "columns": [column.name], "partitions": bounds}
    return replace(case, target=target)


def _named(_draw: Draw, case: Case, _names: Names) -> Case:
    return replace(case, target=case.target | {"name": "Things Two"})
