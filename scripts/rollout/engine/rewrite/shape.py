"""A rewrite as resolved against the catalogue: names, columns, and the mapping both ways as SQL expressions.

It is computed once, when the shadow is made, and stored in the ledger with it: later stages read it from there and never
guess what the tables were like before.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict

from rollout.engine.rewrite.description import ident

NAME_BYTES_MAX = 63


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)


class Held(_Stored):
    """A column as the sync, the copy and the comparison see it; `exact` and `send` as in Description."""

    name: str
    type: str
    exact: bool
    send: str
    written: bool


class Side(_Stored):
    """One source. `relation` is its name, `old` its name once swapped; both qualified and quoted.

    `forward`: target column to SQL over this table's columns; `back`: its written columns to the target's that hold them,
    `face` the same with generated ones. `key` are its key's columns, `held_key` the target's columns that hold them. `filled`:
    target columns that are worked out from old ones; `retyped`: those of them that stand beside a hidden column of the old
    type, and which; `moved`: those whose default stands there; `unfilled`: hidden columns that are worked out from new ones.
    """

    schema_: str
    name: str
    relation: str
    old: str
    bit: int
    columns: list[Held]
    key: list[str]
    held_key: list[str]
    forward: dict[str, str]
    back: dict[str, str]
    face: dict[str, str]
    filled: dict[str, str]
    retyped: dict[str, str]
    moved: list[str]
    unfilled: dict[str, str]
    lossy: list[str]
    fallible: bool
    reread: bool
    moving: bool
    owns: str
    as_found: dict[str, str]
    defaults: dict[str, str]
    grants: list[str]

    @property
    def source_name(self) -> str:
        """`schema.name` as declared."""
        return f"{self.schema_}.{self.name}"

    def key_type(self, column: str) -> str:
        """Return a column's type."""
        return next(c.type for c in self.columns if c.name == column)


class Shape(_Stored):
    """The whole rewrite. `target` is the shadow's name now, `home` its name after contract; statements are ready to run.

    `expected`: the facts of the target as an authority. `after_copy`: names of indexes and what builds them, concurrently;
    `constraints`: what binds those indexes; `foreign_keys`: name to definition as a shadow has it; `swap`, `revert`,
    `contract`, `discard`: what these do besides names, sync and views; `hidden`: what drops columns that old clients alone use.
    """

    change: str
    schema_: str
    new_schema: str
    old_schema: str
    name: str
    target: str
    home: str
    columns: list[Held]
    key: list[str]
    nullable_key: list[str]
    partitioned: bool
    partitions: list[str]
    leaves: list[str]
    one_row: bool
    merged: bool
    deferrable: bool
    sides: list[Side]
    after_copy: list[tuple[str, str]]
    constraints: list[str]
    foreign_keys: dict[str, str]
    foreign_key_tables: list[str]
    expected: dict[str, str]
    swap_before: list[str]
    swap: list[str]
    revert_before: list[str]
    revert: list[str]
    left: list[str] = []
    discard: list[str] = []
    contract: list[str]
    hidden: list[str]
    children: list[dict[str, Any]]
    old_partitions: dict[str, list[str]]

    def function(self, what: str) -> str:
        """Return the qualified name of one of the change's functions."""
        return f"rollout.{ident(function_name(self.change, what))}"

    @property
    def written(self) -> list[Held]:
        """The target's columns that writers give (not generated ones)."""
        return [c for c in self.columns if c.written]


def function_name(change: str, what: str) -> str:
    """Return a name for a change's function that 63 bytes hold, the same each time and no other change's."""
    name = f"{change}_{what}"
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    what = what.encode()[-(NAME_BYTES_MAX // 2) :].decode(errors="ignore")
    room = NAME_BYTES_MAX - len(what.encode()) - len(digest) - 2
    return f"{change.encode()[:room].decode(errors='ignore')}_{digest}_{what}"


def versioned(schema: str, version: str) -> str:
    """Return the schema that holds a version of a schema's tables: v1 and v2 of public, `<schema>_v1` of others."""
    return version if schema == "public" else f"{schema}_{version}"
