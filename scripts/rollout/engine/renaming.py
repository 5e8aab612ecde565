"""A rename's own part of each stage: nothing is copied, every table is exchanged in a short transaction of its own.

The ledger holds (rollout.renames) which tables are exchanged and what was done to each, written in the transaction that
does it. The first of them makes the change `swapped`: from then on it is to be finished, or taken back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rollout.engine import changes, constraining, ledger, renamed
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE
from rollout.engine.companion import statement
from rollout.engine.declaration import Added
from rollout.engine.kinds import Kind
from rollout.engine.ledger import Connection
from rollout.engine.locks import Stalls, limit, with_locks
from rollout.engine.renamed import Renamed
from rollout.engine.rewrite import carry
from rollout.engine.rewrite.description import Description, ident, read
from rollout.engine.rewrite.shape import versioned
from rollout.errors import Refused

NOT_CARRIED = "runbooks/deploy.md#not-carried"


def tables(connection: Connection, change: changes.Change) -> list[Description]:
    """Return the tables that a rename would exchange here now, by name: those declared, else those that the catalogue has."""
    declared = change.declaration
    if declared.tables:
        names = [(name.partition(".")[0], name.partition(".")[2]) for name in declared.tables]
    else:
        asked = {"schema": ident(declared.schema_), "columns": list(declared.rename)}
        names = [(declared.schema_, str(r["name"])) for r in connection.execute(statement("renameable"), asked).fetchall()]
    rewritten = {r for earlier in changes.required(change) if earlier.rewrites for r in earlier.declaration.relations}
    others = {*declared.without, *rewritten}
    found = [read(connection, *name) for name in names if ".".join(name) not in others]
    return [table for table in found if table is not None and table.kind != "v"]


def refused(connection: Connection, change: changes.Change) -> list[str]:
    """Return a line for each thing about its tables that could not be carried; asked before anything is written."""
    found = tables(connection, change)
    wrong = [f"{t.schema_}.{t.name}: {what}" for t in found for what in renamed.refusals(connection, change.declaration, t)]
    for one in change.declaration.constraints:
        for name in filter(None, (one.table, one.references)):
            schema, _, table = name.partition(".")
            if read(connection, schema, table) is None:
                wrong.append(f"constraint {one.name}: {name} does not exist")
    return wrong


def exchanged(connection: Connection, change: str) -> list[Renamed]:
    """Return the tables that stand exchanged, in the order in which they were."""
    return [Renamed.model_validate(one) for one in ledger.renames(connection, change)["tables"].values()]


class Renaming(Kind):
    """The stages of one rename."""

    def make(self) -> dict[str, Any]:
        """Refuse what cannot be carried; make the new schema, which new clients may then look into."""
        # Reading the catalogue of many tables takes longer than a lock may be held; nothing is locked for it.
        self._refuse()
        found = tables(self.connection, self.change)
        grantees = dict.fromkeys(str(g["grantee"]) for table in found for g in table.grants)
        made: list[str] = []
        for schema in dict.fromkeys(ident(versioned(table.schema_, "v2")) for table in found):
            made.append(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            made += [f"GRANT USAGE ON SCHEMA {schema} TO {grantee}" for grantee in grantees]

        def make() -> None:
            self.run(made)
            ledger.keep_renames(self.connection, self.change.name, {})

        return self.locked("expand", "expanded", SHARE_ROW_EXCLUSIVE, before=make)

    def unfinished(self) -> bool:
        """Tell whether a swap or a revert was stopped between two tables."""
        return not self._stored()["whole"]

    def swap(self) -> dict[str, Any]:
        """Exchange every table for a view with its old columns, one by one; then add the constraints, mend, and check them.

        Raises Refused, before anything is written, for what cannot be carried, and when the stall budget is spent.
        """
        self._refuse()
        cost = _Cost()
        for table in tables(self.connection, self.change):
            # What can be worked out before anybody waits.
            statements = renamed.of(self.change.declaration, table).swap(table)
            self._under(cost, [table.relation], ACCESS_EXCLUSIVE, partial(self._move, table, statements, self._stored()))
        for one in self.change.declaration.constraints:
            self._constrain(one, cost)
        self.locked("swap", "swapped", ACCESS_EXCLUSIVE, before=partial(self.run, [self._kept(whole=True)]))
        return {**cost.to_dict(), "tables": len(exchanged(self.connection, self.change.name))}

    def revert(self) -> dict[str, Any]:
        """Take constraints and views away, the last one first, and give every table its name and columns back."""
        self._refuse_leaning()
        cost = _Cost()
        added = self._stored()["constraints"]
        for one in reversed([c for c in self.change.declaration.constraints if c.name in added]):
            self._under(cost, constraining.locks(one, self._at), ACCESS_EXCLUSIVE, self._drop(one))
        for table in reversed(exchanged(self.connection, self.change.name)):
            self._under(cost, [table.old, table.new], ACCESS_EXCLUSIVE, self._back(table, table.revert()))
        self.locked("revert", "copied", ACCESS_EXCLUSIVE)
        return cost.to_dict()

    def go_home(self) -> dict[str, Any]:
        """Drop the views; every table comes home, with its new columns' names."""
        self._refuse_leaning()
        cost = _Cost()
        for table in exchanged(self.connection, self.change.name):
            self._under(cost, [table.old, table.new], ACCESS_EXCLUSIVE, self._back(table, table.contract()))

        def forget() -> None:
            ledger.keep_renames(self.connection, self.change.name, None)

        self.locked("contract", "contracted", ACCESS_EXCLUSIVE, before=forget)
        return cost.to_dict()

    def discard(self) -> dict[str, Any]:
        """Forget it: what expand made is a schema, which others may use too."""

        def forget() -> None:
            ledger.keep_renames(self.connection, self.change.name, None)

        return self.locked("discard", None, ACCESS_EXCLUSIVE, before=forget)

    def _under(self, cost: _Cost, relations: list[str], mode: str, work: Callable[[], None]) -> None:
        stalls = Stalls()

        def fenced() -> None:
            ledger.check(self.connection, self.fence)
            limit(self.connection, self.settings, stalls)
            work()

        with_locks(self.connection, relations, mode, self.settings, stalls, fenced)
        cost.count(stalls)

    def _move(self, before: Description, statements: list[str], stored: dict[str, Any]) -> None:
        """Exchange a table; `statements`: for what it was before anybody waited for the lock; `stored`: the ledger then."""
        table = read(self.connection, before.schema_, before.name)
        if table is None or table.kind == "v":
            return
        if table.model_copy(update={"rows": before.rows}) != before:
            if wrong := renamed.refusals(self.connection, self.change.declaration, table):
                raise self._cannot([f"{before.schema_}.{before.name}: {what}" for what in wrong])
            statements = renamed.of(self.change.declaration, table).swap(table)
        to = renamed.of(self.change.declaration, table)
        self.run([*statements, self._kept(tables={**stored["tables"], to.old: to.model_dump(mode="json")}, whole=False)])
        if not stored["tables"]:
            ledger.reach(self.connection, self.fence, self.change.name, "swapped", self.change.sha256, first=to.old)

    def _back(self, table: Renamed, statements: list[str]) -> Callable[[], None]:
        left = {old: one for old, one in self._stored()["tables"].items() if old != table.old}
        return partial(self.run, [*statements, self._kept(tables=left, whole=False)])

    def _drop(self, one: Added) -> Callable[[], None]:
        left = [name for name in self._stored()["constraints"] if name != one.name]
        return partial(self.run, [constraining.drop(one, self._at), self._kept(constraints=left, whole=False)])

    def _constrain(self, one: Added, cost: _Cost) -> None:
        added = self._stored()["constraints"]
        if one.name not in added:
            mode = ACCESS_EXCLUSIVE if one.check else SHARE_ROW_EXCLUSIVE
            work = [constraining.add(one, self._at), self._kept(constraints=[*added, one.name], whole=False)]
            self._under(cost, constraining.locks(one, self._at), mode, partial(self.run, work))
        statement = constraining.mend(one, self._at, self.change.name).encode()
        mended = True
        while mended:
            with self.connection.transaction():
                ledger.check(self.connection, self.fence)
                mended = self.connection.execute(statement).rowcount > 0
        self.alone(constraining.validate(one, self._at).encode())

    def _at(self, name: str) -> str:
        """Return a table's name now, for SQL, of its name as found."""
        schema, _, table = name.partition(".")
        old = f"{ident(schema)}.{ident(table)}"
        moved = {one.old: one.new for one in exchanged(self.connection, self.change.name)}
        return moved.get(old, old)

    def _stored(self) -> dict[str, Any]:
        return ledger.renames(self.connection, self.change.name)

    def _kept(self, **changed: Any) -> str:
        """Return what writes the ledger with the work itself, in one round trip."""
        state = carry.literal(json.dumps({**self._stored(), **changed}))
        return f"UPDATE rollout.renames SET state = {state} WHERE change = {carry.literal(self.change.name)}"  # noqa: S608  (literals)

    def _refuse(self) -> None:
        moved = {one.old for one in exchanged(self.connection, self.change.name)}
        if not moved and (wrong := refused(self.connection, self.change)):
            raise self._cannot(wrong)

    def _cannot(self, wrong: Iterable[str]) -> Refused:
        return Refused(
            f"{self.change.name} cannot carry: {'; '.join(wrong)}",
            next="change what is named, or leave the table out by name (without)",
            page=NOT_CARRIED,
        )

    def _refuse_leaning(self) -> None:
        """Refuse while something stands on a view that is to go: nobody but its maker knows what it is to stand on then."""
        views = [one.old for one in exchanged(self.connection, self.change.name)]
        rows = self.connection.execute(statement("rename_leans"), {"views": views}).fetchall()
        if rows:
            said = "; ".join(f"{r['name']}: {', '.join(r['leans'])}" for r in rows)
            raise Refused(
                f"{self.change.name}: made since the swap, on a view that goes: {said}",
                limit="0",
                next="drop what is named, then repeat the command",
                page=NOT_CARRIED,
            )


class _Cost:
    """What a stage of many short transactions cost, added up.

    Each has the stall budget for itself: it makes the clients of its own table wait, and nobody else's.
    """

    def __init__(self) -> None:
        self.stalls = Stalls()

    def count(self, one: Stalls) -> None:
        """Add a transaction; `held_ms` becomes that of all together."""
        total = self.stalls
        for name in ("attempts", "stalled_ms", "sessions", "waited_ms", "held_ms", "unseen"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.longest_ms = max(total.longest_ms, one.longest_ms)
        total.longest_wait_ms = max(total.longest_wait_ms, one.longest_wait_ms)
        total.met.update(one.met)
        total.ended += one.ended

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return self.stalls.to_dict()
