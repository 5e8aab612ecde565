"""Constraints that a rename's tables get: added unchecked, old rows mended by a rule and kept as evidence, then checked whole."""

from __future__ import annotations

from collections.abc import Callable

from rollout.engine.declaration import Added
from rollout.engine.rewrite.description import ident
from rollout.engine.rewrite.templates import render

BATCH = 1000
At = Callable[[str], str]


def add(one: Added, at: At) -> str:
    """Return what adds a constraint, NOT VALID: it binds what is written from then on. `at`: a table's name now, for SQL."""
    if one.check:
        definition = f"CHECK ({one.check})"
    else:
        then = f" ON DELETE {one.on_delete}" if one.on_delete else ""
        definition = f"FOREIGN KEY ({_names(one.columns)}) REFERENCES {at(one.references)} ({_names(one.referenced)}){then}"
    return f"ALTER TABLE {at(one.table)} ADD CONSTRAINT {ident(one.name)} {definition} NOT VALID"


def mend(one: Added, at: At, change: str) -> str:
    """Return what mends one batch of the rows that it would refuse, and answers with a row for each."""
    rule = "delete" if one.mend.delete else "parent" if one.mend.parent else f"set {one.mend.set}"
    return render(
        "mend.sql.j2", relation=at(one.table), parent=at(one.references) if one.references else "", check=one.check,
        columns=one.columns, keys=list(zip(one.columns, one.referenced, strict=bool(one.references))) if one.references else [],
        mend=one.mend, limit=BATCH, change=change, name=one.name, found=one.table, rule=rule,
    )  # fmt: skip


def validate(one: Added, at: At) -> str:
    """Return what checks old rows: it reads the table, under a lock that lets clients read and write."""
    return f"ALTER TABLE {at(one.table)} VALIDATE CONSTRAINT {ident(one.name)}"


def drop(one: Added, at: At) -> str:
    """Return what takes it away."""
    return f"ALTER TABLE {at(one.table)} DROP CONSTRAINT IF EXISTS {ident(one.name)}"


def locks(one: Added, at: At) -> list[str]:
    """Return what adding and dropping it locks, the referenced table first.

    Clients hold that one from their transaction's first write to any of its children. With this table locked first, whoever
    comes to it with the other one in hand would wait for us, and we for them, until our time is up.
    """
    return list(dict.fromkeys([*([at(one.references)] if one.references else []), at(one.table)]))


def _names(columns: list[str]) -> str:
    return ", ".join(ident(c) for c in columns)
