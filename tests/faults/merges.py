"""Two tables that become one: a case of its own, its SQL, and what a merge promises, said once more in a plain way.

What is promised does not depend on the stage: each old table keeps its own row of a key, and the new one shows the first
table's row of a key that stands in both. After the swap an update under any name changes that one row, and so, in each old
table, just the columns that it changed there. The twin's two tables are kept by that rule and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
import yaml
from cases import CHANGE, Case, Column, Kill, q
from kinds import KEYS, KINDS, SPECIAL
from universe import APP, OWNER, TWIN, values

SIDES = ("left", "Right Side")
OWNED = "mine"  # the value of the owner column whose new rows belong to the second table
ORDINARY = tuple(name for name in KINDS if name not in SPECIAL)
STEPS = (
    "expand", "discard", "expand", "swap", "revert", "discard", "expand", "swap", "revert", "expand", "swap", "compare",
    "contract",
)  # fmt: skip
STAGES = {
    "expand": "compared", "discard": None, "swap": "swapped", "revert": "copied", "compare": "swapped",
    "contract": "contracted",
}  # fmt: skip
# Clients may not look into the old tables' schema themselves.
SWAPPED = f"""
CREATE FUNCTION {TWIN}.swapped() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
AS $$BEGIN RETURN to_regclass('v1.{q(SIDES[0])}') IS NOT NULL; END$$
"""
Row = dict[str, str | None]


@dataclass(frozen=True)
class Merge:
    """`columns`, `key`, `counter`, `word` are both tables'; `owner`: the column that says whose a new row is; `rename`: each
    table's; `shared`: how many keys stand in both from the beginning."""

    columns: tuple[Column, ...]
    key: tuple[str, ...]
    counter: str
    word: str
    owner: str
    rename: dict[str, str]
    rows: int = 600
    shared: int = 150
    seed: int = 0
    kills: tuple[Kill, ...] = ()

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @property
    def table(self) -> Case:
        """One of the two tables, for what draws values."""
        return Case(
            "public", SIDES[0], self.columns, self.key, (), counter=self.counter, word=self.word, rows=self.rows,
            seed=self.seed,
        )  # fmt: skip

    def change_yml(self) -> str:
        """Return change.yml as text."""
        sources: list[dict[str, Any]] = [{"table": f"public.{side}"} for side in SIDES]
        if self.rename:
            for source in sources:
                source["rename"] = self.rename
        sources[1]["owns"] = f"{q(self.rename.get(self.owner, self.owner))} = '{OWNED}'"
        declared = {"change": CHANGE, "kind": "rewrite", "summary": "two become one", "sources": sources}
        return yaml.safe_dump(declared, sort_keys=False, allow_unicode=True, width=120)

    def to_json(self) -> str:
        """Return the case as a seed file holds it."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a seed file."""
        data = json.loads(text)
        data["columns"] = tuple(Column(**(c | {"derived": None})) for c in data["columns"])
        return cls(**data | {"key": tuple(data["key"]), "kills": tuple(tuple(kill) for kill in data["kills"])})


def seeds() -> list[Path]:
    """Return the kept cases."""
    return sorted((Path(__file__).with_name("seeds") / "merges").glob("*.json"))


def drawn(number: int) -> Merge:
    """Return the case of a number, the same each time."""
    chance = random.Random(number)
    composite = chance.random() < 0.3
    key = [Column("k0", "mood", "NOT NULL", nullable=False)] if composite else []
    key.append(Column("Key 1", chance.choice(KEYS), "NOT NULL", nullable=False))
    others = [Column(f"c{n}", chance.choice(ORDINARY)) for n in range(chance.randint(0, 4))]
    columns = [*key, Column("n", "small"), Column("word", "plain"), Column("owner", "plain"), *others]
    chance.shuffle(columns)
    renamed = chance.sample([c.name for c in columns], chance.randint(0, 2))
    who = ("runner", "runner", "backend", "backend", "server")
    kills = sorted(
        (
            chance.randrange(len(STEPS)),
            chance.randint(1, 80),
            chance.choice(who),
            chance.choice(("before", "during", "after")),
        )
        for _ in range(chance.randint(0, 6))
    )
    return Merge(
        tuple(columns), tuple(c.name for c in key), "n", "word", "owner", {name: f"{name} new" for name in renamed},
        seed=number, kills=tuple(kills),
    )  # fmt: skip


def definition(merge: Merge, schema: str) -> str:
    """Return the SQL of both tables in a schema."""
    body = ", ".join(c.definition for c in merge.columns)
    key = ", ".join(map(q, merge.key))
    parts = [f"CREATE SCHEMA IF NOT EXISTS {q(schema)}; GRANT USAGE ON SCHEMA {q(schema)} TO {APP};"]
    for side in SIDES:
        table = f"{q(schema)}.{q(side)}"
        parts.append(f"CREATE TABLE {table} ({body}, PRIMARY KEY ({key}));")
        parts.append(f"CREATE INDEX ON {table} ({q(merge.counter)});")
        parts.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP};")
    return "\n".join(parts)


def create(superuser: psycopg.Connection[Any], merge: Merge) -> list[tuple[str, tuple[str | None, ...]]]:
    """Create and fill both universes; return which keys stand where."""
    superuser.execute(f"SET ROLE {OWNER}".encode())
    for schema in (TWIN, "public"):
        superuser.execute(definition(merge, schema).encode())
    superuser.execute(SWAPPED.encode())
    superuser.execute("RESET ROLE")
    chance, case, stand = random.Random(merge.seed), merge.table, []
    listed = ", ".join(map(q, merge.names))
    for which, side in enumerate(SIDES):
        numbers = range(merge.rows) if which == 0 else range(merge.rows - merge.shared, 2 * merge.rows - merge.shared)
        table = f"public.{q(side)} ({listed})"
        with superuser.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
            for number in numbers:
                row = new_row(merge, case, chance, number)
                copy.write_row([row[name] for name in merge.names])
        superuser.execute(f"INSERT INTO {TWIN}.{q(side)} SELECT * FROM public.{q(side)}".encode())
        keys = superuser.execute(
            f"SELECT {', '.join(f'{q(k)}::text' for k in merge.key)} FROM {TWIN}.{q(side)}".encode()
        )
        stand += [(side, tuple(key)) for key in keys]
    superuser.execute("ANALYZE")
    return stand


def new_row(merge: Merge, case: Case, chance: random.Random, number: int) -> Row:
    """Return the values of a row. The key's first part, if it has two, follows from the number, so that keys do meet."""
    row = values(case, chance, number)
    row |= {merge.owner: chance.choice((OWNED, "other", None))}
    if len(merge.key) > 1:
        row[merge.key[0]] = ("sad", "ok", "happy")[number % 3]
    return row


COMPARED = """
WITH one AS (SELECT ROW({left})::text AS r FROM {relation} AS s), other AS (SELECT ROW({right})::text AS r FROM {wanted} AS s)
(SELECT 'only here: ' || left(r, 400) FROM (TABLE one EXCEPT ALL TABLE other) AS a LIMIT 4)
UNION ALL (SELECT 'only in the twin: ' || left(r, 400) FROM (TABLE other EXCEPT ALL TABLE one) AS b LIMIT 4)
"""


def differences(connection: psycopg.Connection[Any], merge: Merge, stage: str | None) -> list[str]:
    """Return what is not as promised at a stage of the ledger."""
    left, right = (f"{TWIN}.{q(side)}" for side in SIDES)
    same = " AND ".join(f"x.{q(k)} = y.{q(k)}" for k in merge.key)
    alone = f"SELECT y.* FROM {right} AS y WHERE NOT EXISTS (SELECT FROM {left} AS x WHERE {same})"
    merged = f"(SELECT * FROM {left} UNION ALL {alone})"
    own = ", ".join(f"s.{q(name)}" for name in merge.names)
    new = ", ".join(f"s.{q(merge.rename.get(name, name))}" for name in merge.names)
    pairs = []
    if stage in (None, "copied", "compared"):
        pairs += [(f"public.{q(side)}", own, f"{TWIN}.{q(side)}") for side in SIDES]
    if stage == "swapped":
        pairs += [(f"v1.{q(side)}", own, f"{TWIN}.{q(side)}") for side in SIDES]
        for side in SIDES:
            shown = f"(SELECT x.* FROM {merged} AS x JOIN {TWIN}.{q(side)} AS y ON {same})"
            pairs.append((f"public.{q(side)}", own, shown))
    if stage in ("copied", "compared", "swapped"):
        pairs.append((f"v2.{q(SIDES[0])}", new, merged))
    if stage == "contracted":
        pairs.append((f"public.{q(SIDES[0])}", new, merged))
    return [
        f"{relation} {line}"
        for relation, listed, wanted in pairs
        for (line,) in connection.execute(
            COMPARED.format(left=listed, relation=relation, right=own, wanted=wanted).encode()
        ).fetchall()
    ]
