"""The Hypothesis strategy that makes a case: columns and key, then a change, then all that stands on a table."""

from __future__ import annotations

from dataclasses import replace

from cases import STEPS, Case, Column, Kill, Profile, q
from differences import WIDER, differing
from draws import LONG, NAMES, Draw, Names, chance, one
from dress import dressed
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from kinds import KEYS, KINDS, SPECIAL

SCHEMAS = ("public", "public", "Odd Schema", "sales")
TABLES = ("things", "Order Lines", f"{LONG}3", "user", "jobs")
ORDINARY = tuple(name for name in KINDS if name not in SPECIAL)
DEFAULTS = {
    "int": "DEFAULT 7",
    "varchar": "DEFAULT 'it''s'",
    "timestamptz": "DEFAULT now()",
    "uuid": "DEFAULT gen_random_uuid()",
    "mood": "DEFAULT 'ok'",
    "jsonb": "DEFAULT '{}'",
    "numeric": "DEFAULT 'NaN'",
    "texts": "DEFAULT ARRAY['x']",
}


@st.composite
def cases(draw: Draw, major: int = 15, *, wide: bool = False) -> Case:
    """Draw a case that this major version of Postgres can hold; `wide`: with something that only the new shape can hold."""
    names: Names = iter(draw(st.permutations(NAMES)))
    key, constraint = _key(draw, names)
    counter, word = Column(next(names), "small"), Column(next(names), "plain")
    columns = [*key, counter, word, *(_ordinary(draw, next(names)) for _ in range(draw(st.integers(1, 7))))]
    if chance(draw, 0.4):
        how = "VIRTUAL" if major >= 18 and chance(draw, 0.5) else "STORED"
        columns.append(
            Column(next(names), "int", f"GENERATED ALWAYS AS ({q(counter.name)} * 2 + 1) {how}", "generated")
        )
    if wide:
        columns.append(Column(next(names), one(draw, "int", "int2", "varchar")))
    case = Case(
        schema=one(draw, *SCHEMAS),
        table=one(draw, *TABLES),
        columns=tuple(draw(st.permutations(columns))),
        key=tuple(c.name for c in key),
        constraints=(constraint,),
        counter=counter.name,
        word=word.name,
        seed=draw(st.integers(0, 2**31)),
        kills=tuple(draw(st.lists(_kills(), max_size=6))),
        major=major,
        profile=Profile(single=chance(draw, 0.4), twin_first=chance(draw, 0.3), replica=chance(draw, 0.4)),
    )
    case = differing(draw, case, names)
    if wide and not case.widened:
        case = replace(case, widened={columns[-1].name: WIDER[columns[-1].kind]})
    case = dressed(draw, case, names, telling=not wide)
    # Drawn last, so that a number goes on to mean the table that it meant.
    case = replace(case, again=chance(draw, 0.3))
    return replace(case, profile=replace(case.profile, wide=may_be_wide(case) and (wide or chance(draw, 0.6))))


def may_be_wide(case: Case) -> bool:
    """Whether there is something that only the new shape can hold, and nothing that would tell of it elsewhere."""
    return bool(case.widened) and not (case.traced or case.seen or case.child or case.up)


def drawn(number: int, major: int, *, wide: bool = False) -> Case:
    """Return the case of a number: the same each time, and owing nothing to the case before it.

    Hypothesis tries the simplest first and variations of the last later; here each seed gives its first random one.
    """
    found: list[Case] = []

    @seed(number)
    @settings(
        max_examples=2, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(cases(major, wide=wide))
    def keep(case: Case) -> None:
        found.append(case)

    keep()
    return found[-1]


def _key(draw: Draw, names: Names) -> tuple[list[Column], str]:
    """Draw the key: one to three columns, as a primary key or as a unique constraint without NULLs."""
    name, how = next(names), one(draw, "ALWAYS", "BY DEFAULT", "serial", "plain", "plain", "composite", "composite")
    if how in ("ALWAYS", "BY DEFAULT"):
        sequence = f"GENERATED {how} AS IDENTITY (START 100 INCREMENT 3)"
        key = [Column(name, one(draw, "numbered", "numbered8"), sequence, "server", nullable=False)]
    elif how == "serial":
        key = [Column(name, "serial", "", "server", nullable=False)]
    elif how == "plain":
        key = [Column(name, one(draw, *KEYS), "NOT NULL", nullable=False)]
    else:
        kinds = [one(draw, *KEYS, "mood", "bool") for _ in range(draw(st.integers(1, 2)))] + [one(draw, *KEYS)]
        key = [Column(next(names) if n else name, kind, "NOT NULL", nullable=False) for n, kind in enumerate(kinds)]
    listed = ", ".join(q(c.name) for c in key)
    named = f"CONSTRAINT {q(one(draw, 'The Key', f'{LONG}k'))} " if chance(draw, 0.3) else ""
    return key, f"{named}{'UNIQUE' if how == 'plain' and chance(draw, 0.25) else 'PRIMARY KEY'} ({listed})"


def _ordinary(draw: Draw, name: str) -> Column:
    """Draw a column that nothing refers to."""
    kind, strict = one(draw, *ORDINARY), chance(draw, 0.25)
    words = [DEFAULTS[kind]] if kind in DEFAULTS and chance(draw, 0.6) else []
    filled = "default" if words else "client"
    return Column(name, kind, " ".join([*words, *(["NOT NULL"] if strict else [])]), filled, nullable=not strict)


def _kills() -> st.SearchStrategy[Kill]:
    """Draw who is killed: in which step, at which of its statements."""
    who = st.sampled_from(("runner", "runner", "runner", "backend", "backend", "server"))
    return st.tuples(
        st.integers(0, len(STEPS) - 1), st.integers(1, 80), who, st.sampled_from(("before", "during", "after"))
    )
