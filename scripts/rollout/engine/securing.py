"""Row security's own part of each stage: look, build indexes, switch on relation by relation, switch off again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from psycopg.types.json import Jsonb

from rollout.engine import indexes, ledger
from rollout.engine.acting import ACCESS_EXCLUSIVE
from rollout.engine.kinds import Kind
from rollout.engine.locks import Stalls, with_locks
from rollout.engine.rewrite.description import ident
from rollout.engine.rewrite.shape import function_name
from rollout.engine.security import making, refusals, report, rules
from rollout.engine.security.catalogue import Relation
from rollout.engine.security.rules import Rules
from rollout.errors import Failed

Statements = Callable[[Rules, Relation], list[str]]
KEPT = "SELECT relation, kind, found, made FROM rollout.row_security WHERE change = %s ORDER BY relation"
KEEP = """
INSERT INTO rollout.row_security (change, relation, kind, found, made) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (change, relation) DO UPDATE SET made = excluded.made, kind = excluded.kind, at = now()
"""
FORGET = "DELETE FROM rollout.row_security WHERE change = %s AND relation = %s"
INDEX = "i"


class Securing(Kind):
    """The stages of one change of kind row_security."""

    prepares = False  # a switch that has a way back until it is home

    _held = 0.0

    def make(self) -> dict[str, Any]:
        """Build the indexes that predicates need. Raises Refused when roles, tables or policies are not as declared."""
        found = self._rules()
        refusals.roles(self.connection, found)
        refusals.undeclared(found)
        self.reach("expanding")  # an index that a kill leaves can be discarded
        self._build(found)
        return super().make()

    def swap(self) -> dict[str, Any]:
        """Switch on, one relation at a time; what is on already, by an earlier run of this, is left alone.

        Raises Refused while somebody is connected that sets no tenant, Failed when the report is not all pass.
        """
        stalls, done = Stalls(), 0
        found = self._rules()
        refusals.roles(self.connection, found)
        refusals.halfway(self.connection, found)
        refusals.undeclared(found)
        self._build(found)
        for relation in self._due(found):
            done += self._on(found, relation, stalls)
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            refusals.sessions(self.connection, found)
            self._verify()
            if done or self.stage() != "swapped":
                ledger.reach(self.connection, self.fence, self.change.name, "swapped", self.change.sha256, relations=done)
        return {**stalls.to_dict(), "held_ms": round(self._held, 1), "relations": done}

    def revert(self) -> dict[str, Any]:
        """Give every relation back exactly what it had, the last first; what nobody has touched is left alone."""
        stalls, done = Stalls(), 0
        there = self._rules().relations
        for row in reversed(self._kept()):
            if row["kind"] != INDEX:
                self._off(row, there, stalls)
                done += 1
            elif _of_a_version(row["relation"]):  # on a rewrite's target, whose next swap compares it with what was declared
                self._drop(row["relation"])
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            ledger.reach(self.connection, self.fence, self.change.name, "copied", self.change.sha256, relations=done)
        return {**stalls.to_dict(), "held_ms": round(self._held, 1), "relations": done}

    def go_home(self) -> dict[str, Any]:
        """Cover what has been made since and say all names anew: the relations are home. There is no way back from here."""
        facts = self.swap() if self.stage() == "swapped" else {}
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            self._verify()  # while the entries under the names that were are still there to compare with
            found, kept = self._rules(), {str(row["relation"]): row for row in self._kept()}
            for relation in [*found.covered(), *found.materialised()]:
                name = making.shown(relation) if relation.kind == "m" else relation.relation
                if name not in kept:
                    made = Jsonb(report.made(self.connection, found, relation))
                    self.connection.execute(KEEP, (self.change.name, name, relation.kind, Jsonb({}), made))
            self.run([making.unguard(r.relation) for r in found.covered() if r.guarded and not found.merged(r)])
            for name, row in kept.items():
                if row["kind"] != INDEX and name not in found.relations:
                    self.connection.execute(FORGET, (self.change.name, name))
            self._verify()
            ledger.reach(self.connection, self.fence, self.change.name, "contracted", self.change.sha256)
        return facts

    def discard(self) -> dict[str, Any]:
        """Drop the indexes that were built for it."""
        for row in self._kept():
            if row["kind"] == INDEX:
                self._drop(row["relation"])
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            ledger.reach(self.connection, self.fence, self.change.name, None, self.change.sha256)
        return {}

    def half_done(self) -> bool:
        """Return whether a switch-on was stopped in its middle here."""
        return any(row["kind"] != INDEX for row in self._kept())

    def unfinished(self) -> bool:
        """Return whether a relation is not as it is to be: one made since, a partition say."""
        return bool(self._due(self._rules()))

    def _rules(self) -> Rules:
        return rules.of(self.connection, self.change)

    def _kept(self) -> list[dict[str, Any]]:
        return self.connection.execute(KEPT, (self.change.name,)).fetchall()

    def _due(self, found: Rules) -> list[Relation]:
        """Return the relations that are not as they are to be, in the order in which they are switched on."""
        lines = report.relations(self.connection, self.change, found)
        wrong = {line.relation for line in lines if line.verdict == "fail"}
        shows = {making.shown(r): r for r in found.materialised() if r.relation != making.shown(r)}
        views = [r for r in found.relations.values() if r.kind == "v" and not (found.shared(r) or found.withheld(r))]
        views = [view for view in views if view.relation not in shows]
        shut = [r for r in found.materialised() if {r.relation, making.shown(r)} & wrong]
        return [*(r for r in [*found.covered(), *views] if r.relation in wrong), *shut]

    def _on(self, found: Rules, relation: Relation, stalls: Stalls) -> int:
        """Switch one relation on in a transaction of its own, with its ledger entry."""
        kept = making.found(relation)
        name, lock, made = relation.relation, [relation.relation], dict[str, Any]()
        if relation.kind == "m":
            earlier = next((k for k in self._kept() if k["relation"] == making.shown(relation)), None)
            kept = earlier["found"] if earlier else kept
            name, lock, statements = making.shown(relation), [], making.cover(found, relation, kept)
        elif relation.kind == "v":
            lock, statements = [], making.invoke(relation)
        else:
            statements = making.switch_on(found, relation)

        def work() -> None:
            ledger.check(self.connection, self.fence)
            refusals.sessions(self.connection, found)
            self.run(statements)
            made.update(report.made(self.connection, found, relation))
            self.connection.execute(KEEP, (self.change.name, name, relation.kind, Jsonb(kept), Jsonb(made)))

        self._locked(lock, stalls, work)
        return 1

    def _off(self, row: dict[str, Any], found: dict[str, Relation], stalls: Stalls) -> None:
        name, kept = str(row["relation"]), row["found"]
        if row["kind"] == "m":
            schema, _, bare = name.rpartition(".")
            behind = next((r for r in found.values() if r.kind == "m" and making.shown(r) == f"{schema}.{bare}"), None)
            lock, statements = list[str](), making.uncover(behind, kept) if behind else []
        elif (relation := found.get(name)) is None:
            lock, statements = [], []  # gone since, as a partition that was dropped
        elif row["kind"] == "v":
            lock, statements = [], making.invoke_no_more(relation, kept) if relation.kind == "v" else []
        else:
            lock, statements = [name], making.switch_off(relation, kept)

        def work() -> None:
            ledger.check(self.connection, self.fence)
            self.run(statements)
            self.connection.execute(FORGET, (self.change.name, name))

        self._locked(lock, stalls, work)

    def _locked(self, relations: list[str], stalls: Stalls, work: Callable[[], None]) -> None:
        with_locks(self.connection, relations, ACCESS_EXCLUSIVE, self.settings, stalls, work)
        self._held = max(self._held, stalls.held_ms)

    def _build(self, found: Rules) -> None:
        """Build what predicates look up by, where no index leads with it and no rewrite has the table in its hands."""
        held = {s.target for s in found.shapes} | {p for s in found.shapes for p in s.partitions}
        held |= {side.relation for s in found.shapes for side in s.sides}
        if self.connection.execute(refusals.HALFWAY).fetchone() is None:
            held = set()
        for relation in found.covered():
            # Nobody reads an old table under its new owner; of a partitioned one each partition has its own.
            if relation.kind != "r" or relation.relation in held or _old(relation):
                continue
            for column in found.leading(relation):
                if column in relation.indexed:
                    continue
                schema, name = ident(relation.schema_), ident(function_name(f"idx_{relation.name}", column))
                statement = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {relation.relation} ({ident(column)})"
                # First the note of it: an index that nobody knows of would never be dropped.
                with self.connection.transaction():
                    ledger.check(self.connection, self.fence)
                    values = (self.change.name, f"{schema}.{name}", INDEX, Jsonb({}), Jsonb({"on": relation.relation}))
                    self.connection.execute(KEEP, values)
                indexes.build_each(self.connection, [(f"{schema}.{name}", statement.encode())], self.fence)

    def _drop(self, index: str) -> None:
        ledger.check(self.connection, self.fence)
        self.connection.execute("SET lock_timeout = '60s'")
        self.connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}".encode())
        self.connection.execute("SET lock_timeout = 0")
        self.connection.execute(FORGET, (self.change.name, index))

    def _verify(self) -> None:
        lines = report.relations(self.connection, self.change, self._rules())
        if wrong := [f"{line.relation}: {line.why}" for line in lines if line.verdict == "fail"]:
            raise Failed(
                f"{self.change.name}: {len(wrong)} relations are not as declared: {'; '.join(wrong[:5])}",
                limit="all pass or not multi-tenant", next="correct that, then repeat the command",
                page="runbooks/row-security.md",
            )  # fmt: skip


def _old(relation: Relation) -> bool:
    return relation.schema_ == "v1" or relation.schema_.endswith("_v1")


def _of_a_version(name: str) -> bool:
    return re.match(r'"?(\w+_)?v2"?\.', name) is not None
