"""A case: a table that nobody prepared, the change that it is put through, who writes meanwhile and what is killed when.

A case is plain data, so a failed one is kept as a JSON file in seeds/, and prints itself as SQL and change.yml.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from kinds import KINDS

Kill = tuple[int, int, Literal["runner", "backend", "server"], Literal["before", "during", "after"]]
CHANGE = "001_any_table"
STEPS = ("expand", "swap", "revert", "expand", "swap", "compare", "contract")
AGAIN = ("expand", "discard", "expand", "swap", "revert", "discard", *STEPS[3:])


def q(name: str) -> str:
    """Return a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Column:
    """A column: `rest` follows its type in CREATE TABLE; `derived` says that it holds `template` over another column.

    `filled`: client (a value in every insert), default (the client may leave it to the server), server (it always does:
    identity), generated.
    """

    name: str
    kind: str
    rest: str = ""
    filled: Literal["client", "default", "server", "generated"] = "client"
    nullable: bool = True
    derived: tuple[str, str] | None = None
    fresh: bool = False  # every value a new one: it is unique on its own

    @property
    def type(self) -> str:
        return "integer" if self.kind == "serial" else KINDS[self.kind].type

    @property
    def definition(self) -> str:
        return f"{q(self.name)} {KINDS[self.kind].type} {self.rest}".rstrip()


@dataclass(frozen=True)
class Added:
    """A column that only the target has: its definition, and `template` over a source's column."""

    name: str
    definition: str
    over: str
    template: str


@dataclass(frozen=True)
class Profile:
    """Who writes: `single` transactions touch one row each; `twin_first` decides errors exactly; `replica`: one writer's role.

    `wide`: one client of the new release writes what only the new shape can hold."""

    single: bool = False
    twin_first: bool = False
    replica: bool = False
    green: bool = True
    wide: bool = False


@dataclass(frozen=True)
class Case:
    """See the module. `after`: statements behind CREATE TABLE, in its schema or the twin's; `late`: once it has rows.

    `counter`, `word`: an integer and a text column that every table has, under these names. `lookup`: the column that
    refers to `lookups`; `child`: whether `details` refers to the table; `up`: the column that refers to the table's own key.
    """

    schema: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    constraints: tuple[str, ...]
    after: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    partition: str = ""
    counter: str = ""
    word: str = ""
    lookup: str = ""
    child: bool = False
    up: str = ""
    seen: tuple[str, ...] = ()  # views and materialised views on it
    writable: str = ""  # a view that clients write through
    traced: bool = False
    deferred: tuple[str, ...] = ()  # constraints that are checked at commit
    rename: dict[str, str] = field(default_factory=dict)
    added: tuple[Added, ...] = ()
    dropped: tuple[str, ...] = ()
    widened: dict[str, str] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)  # name, key, partition of change.yml
    leave: tuple[str, ...] = ()
    rows: int = 1200
    seed: int = 0
    profile: Profile = Profile()
    kills: tuple[Kill, ...] = ()
    again: bool = False  # the shadow is discarded and made anew, before the swap and after the revert
    major: int = 15  # the lowest Postgres that can hold it

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done, in order."""
        return AGAIN if self.again else STEPS

    @property
    def target_schema(self) -> str:
        return "v2" if self.schema == "public" else f"{self.schema}_v2"

    @property
    def old_schema(self) -> str:
        return "v1" if self.schema == "public" else f"{self.schema}_v1"

    @property
    def target_name(self) -> str:
        return str(self.target.get("name", self.table))

    @property
    def upserts(self) -> bool:
        """Whether ON CONFLICT goes on through the swap: not when the target has no unique key over it alone."""
        return "key" not in self.target

    @property
    def renamed(self) -> bool:
        """Whether the target has another name than the table."""
        return self.target_name != self.table

    @property
    def mapping(self) -> dict[str, str]:
        """Each column of the target as SQL over the table's columns."""
        kept = [c.name for c in self.columns if c.name not in self.dropped]
        mapped = {
            self.rename.get(name, name): f"CAST({q(name)} AS {self.widened[name]})" if name in self.widened else q(name)
            for name in kept
        }
        return mapped | {a.name: a.template.format(q(a.over)) for a in self.added}

    @property
    def changes(self) -> bool:
        """Whether the target differs from the table at all."""
        return bool(self.rename or self.added or self.dropped or self.widened or self.target)

    @property
    def left(self) -> set[str]:
        """The views that go with the old table, and what stands on them."""
        views = {name for name in self.seen if any(name in left for left in self.leave)}
        return views | ({"mat_idx"} if "mat" in views else set())

    @property
    def touched_columns(self) -> set[str]:
        """The columns that the change renames, drops or gives another type."""
        return {*self.rename, *self.dropped, *self.widened}

    def declaration(self) -> dict[str, Any]:
        """Return change.yml as a dict."""
        derived = {name: self.column(name).derived or ("", "NULL") for name in self.dropped}
        back = {name: template.format(q(self.rename.get(over, over))) for name, (over, template) in derived.items()}
        back |= {name: q(self.rename.get(name, name)) + f"::{self.column(name).type}" for name in self.widened}
        source: dict[str, Any] = {
            "table": f"{self.schema}.{self.table}",
            "rename": self.rename,
            "from": {a.name: a.template.format(q(a.over)) for a in self.added},
            "back": back,
        }
        columns = {a.name: a.definition for a in self.added}
        columns |= {self.rename.get(name, name): definition for name, definition in self.widened.items()}
        target = self.target | {"columns": columns, "drop": list(self.dropped)}
        whole = {
            "change": CHANGE,
            "kind": "rewrite",
            "summary": "any table",
            "sources": [_filled(source)],
            "target": _filled(target),
            "leave": list(self.leave),
        }
        return _filled(whole)

    def change_yml(self) -> str:
        """Return change.yml as text."""
        return yaml.safe_dump(self.declaration(), sort_keys=False, allow_unicode=True, width=120)

    def to_json(self) -> str:
        """Return the case as a seed file holds it."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a seed file."""
        data = json.loads(text)
        data |= {
            name: tuple(data[name])
            for name in ("key", "constraints", "after", "late", "seen", "deferred", "dropped", "leave")
        }
        columns = (c | {"derived": tuple(c["derived"]) if c["derived"] else None} for c in data["columns"])
        data["columns"] = tuple(Column(**c) for c in columns)
        data["added"] = tuple(Added(**a) for a in data["added"])
        data["kills"] = tuple(tuple(kill) for kill in data["kills"])
        return cls(**data | {"profile": Profile(**data["profile"])})


def seeds() -> list[Path]:
    """Return the kept cases."""
    return sorted(Path(__file__).with_name("seeds").glob("*.json"))


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
