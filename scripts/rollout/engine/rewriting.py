"""A rewrite's own part of each stage: make, fill, compare, exchange, exchange back, go home."""

from __future__ import annotations

from typing import Any

import psycopg

from rollout.engine import chunks, comparison, indexes, ledger, notes, ranges
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE
from rollout.engine.kinds import Kind
from rollout.engine.locks import Stalls
from rollout.engine.rewrite import making
from rollout.engine.rewrite.description import differences, read
from rollout.engine.rewrite.shape import Shape, Side
from rollout.engine.rewrite.statements import Statements
from rollout.errors import Failed, Refused

SWAP_ROUNDS_MAX = 20
TRIED_ROWS = 100
NOT_CARRIED = "runbooks/deploy.md#not-carried"
# DISABLE and then ENABLE TRIGGER leaves one that fires as an ordinary trigger does, which ours never did.
SWITCHED = """
SELECT tgname AS name, tgrelid::regclass::text AS relation, tgenabled::text AS enabled
FROM pg_trigger
WHERE tgrelid IN (SELECT %s::regclass UNION SELECT relid FROM pg_partition_tree(%s::regclass))
    AND tgname ~ '^(0_|zz_)?rollout_' AND tgenabled <> 'A'
"""
FACE = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class Differs(Exception):
    """Leaves the swap's transaction: dirty keys differ; never seen outside."""


class Disarmed(Exception):
    """Leaves the swap's transaction: a trigger of the sync does not fire as it was armed; never seen outside."""


class TooDirty(Exception):
    """Leaves the swap's transaction: too much was written since the last look; never seen outside."""


class Rewriting(Kind):
    """The stages of one rewrite."""

    @property
    def statements(self) -> Statements:
        """The statements of this rewrite, from the shape that the ledger holds."""
        stored = ledger.shape(self.connection, self.change.name)
        if stored is None:
            raise Failed(
                f"the ledger holds no shape of {self.change.name}",
                next="invoke status",
                page="runbooks/deploy.md#step-failed",
            )
        return Statements(Shape.model_validate(stored))

    def make(self) -> dict[str, Any]:
        """Make the shadow, in a transaction that no client waits for; then arm the sync, which writers wait for."""
        change = self.change
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            if ledger.shape(self.connection, change.name):  # an earlier runner was killed between the two
                self.run(self.statements.discard())
            shape = making.Making(self.connection, change.name, change.declaration, change.sql("shadow")).run()
            self.run(Statements(shape).functions())
            self._tried(Statements(shape))
            ledger.keep_shape(self.connection, change.name, shape.model_dump(mode="json"))
            ledger.reach(self.connection, self.fence, change.name, "expanding", change.sha256)
        statements = Statements(shape)

        def arm() -> None:
            self.run(statements.arm())

        return self.locked("expand", "expanded", SHARE_ROW_EXCLUSIVE, relations=statements.authorities(), before=arm)

    def _tried(self, statements: Statements) -> None:
        """Raise Refused when the sync could not write some of the rows that stand: as it writes, with nothing on its search_path.

        A check, a generated column or an index whose function names others without their schema would fail every writer, and
        so would a key of a type whose = is not in pg_catalog.
        """
        for side in statements.shape.sides:
            try:
                with self.connection.transaction(force_rollback=True):
                    self.connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
                    for statement in statements.trial(side, TRIED_ROWS):
                        self.connection.execute(statement.encode())
            except psycopg.Error as error:
                raise Refused(
                    f"a row of {side.source_name} could not be written as the sync would: {str(error).splitlines()[0]}",
                    next="correct the mapping; a function that this names: ALTER FUNCTION ... SET search_path",
                    page=NOT_CARRIED,
                ) from error

    def fill(self) -> list[dict[str, Any]]:
        """Copy; then build what the copy was faster without: indexes, the constraints on them, foreign keys."""
        statements = self.statements
        shape = statements.shape
        copies = [self.chunked(self._copy(statements, side)) for side in shape.sides]
        named = [(name, statement.encode()) for name, statement in shape.after_copy]
        indexes.build_each(self.connection, named, self.fence)
        self.once("constraints", [shape.target], shape.constraints, ACCESS_EXCLUSIVE)
        relations = [shape.target, *shape.foreign_key_tables]
        self.once("foreign_keys", relations, statements.foreign_keys(), SHARE_ROW_EXCLUSIVE)
        for statement in statements.validate():
            self.alone(statement.encode())
        self.once("foreign_keys_of_all", relations, statements.adopt(), SHARE_ROW_EXCLUSIVE)
        # Without statistics of what was filled each range of the comparison would be a scan.
        self.connection.execute(f"ANALYZE {shape.target}".encode())
        return copies

    def _copy(self, statements: Statements, side: Side) -> chunks.Work:
        def pair(*, quick: bool, bounded: bool) -> tuple[bytes, bytes]:
            first, further = (statements.copy(side, after=a, quick=quick, bounded=bounded) for a in (False, True))
            return first.encode(), further.encode()

        merged = statements.shape.merged
        sample = statements.compare(side, "sample", reverse=False).encode()
        return chunks.Work(
            self.change.name, f"copy_{side.source_name}", pair(quick=False, bounded=False),
            None if merged else pair(quick=True, bounded=False), [side.relation, statements.shape.target],
            chunks.Division(
                lambda: ranges.sample(self.connection, sample, side.relation)[1], pair(quick=False, bounded=True),
                None if merged else pair(quick=True, bounded=True),
            ),
        )  # fmt: skip

    def compare(self, *, note: bool) -> dict[str, Any]:
        """Compare both sides whole; raise Failed when they differ, which discards the checkpoints unless swapped.

        `note`: before it, arm the notes of what is written from then on, which the swap compares again under its lock.
        """
        swapped, statements = self.stage() == "swapped", self.statements
        taken_back = 0 if swapped else comparison.take_back(self.connection, statements, self.fence)
        stalls = self.note(armed=True) if note else Stalls()
        result = comparison.full(
            self.connection, statements, self.fence, self.settings, self.report, reverse=swapped, stands=note
        )
        self.refuse_difference(result.differing, discard=not swapped)
        return result.to_dict() | {"taken_back": taken_back} | ({"noting": stalls.to_dict()} if note else {})

    def note(self, *, armed: bool) -> Stalls:
        """Begin the notes of what is written anew, or end them."""
        return notes.arm(self.connection, self.statements, self.fence, self.settings, armed=armed)

    def rest(self) -> None:
        """Put the notes of what is written away: nobody will swap soon, and they would only grow."""
        self.note(armed=False)
        self.reach("copied")

    def swap(self) -> dict[str, Any]:
        """Exchange the names: one short transaction. Raises Failed when dirty keys differ, Refused when the budget is spent."""
        differing: list[str] = []
        statements = self.statements
        relations = [*statements.authorities(), statements.shape.target, *statements.children()]

        # All that can be worked out before anybody waits.
        queries, names = comparison.given(statements), [*statements.note(armed=False), *statements.swap()]

        def exchange() -> None:
            self._as_found(statements, "since it was expanded")
            self._in_step(statements)
            result = comparison.dirty(self.connection, self.change.name, queries, comparison.DIRTY_UNDER_LOCK_MAX)
            differing.extend(result.differing)
            if differing:
                raise Differs
            if comparison.left(self.connection, self.change.name, 1):
                raise TooDirty
            self.run(names)
            self._as_declared(statements)

        self._as_found(statements, "since it was expanded")  # before anybody waits, and again under the lock
        for _ in range(SWAP_ROUNDS_MAX):
            shrunk = comparison.shrink_dirty(self.connection, statements, self.fence)
            self.refuse_difference(shrunk.differing, discard=True)
            try:
                return self.locked("swap", "swapped", ACCESS_EXCLUSIVE, relations=relations, before=exchange)
            except TooDirty:
                continue  # waiting for the lock let notes pile up again: compare them outside it
            except Disarmed as disarmed:
                self.refuse_difference(disarmed.args[0], discard=True, what="writes may be missing from the shadow")
            except Differs:
                self.refuse_difference(differing, discard=True)
        raise Refused(
            f"{self.change.name}: more was written while waiting for the lock than may be compared under it",
            limit=f"{comparison.DIRTY_UNDER_LOCK_MAX} writes",
            next="repeat the command when the load is lower",
        )

    def revert(self) -> dict[str, Any]:
        """Exchange the names back. The shadow stays, in step, for the next swap."""
        statements = self.statements
        shape = statements.shape
        # Clients take the view they use first, then what stands behind it.
        old = [side.old for side in shape.sides]
        relations = [*statements.authorities(), shape.target, *old, *statements.children()]

        read(self.connection, shape.new_schema, shape.name)  # so that what verifies under the lock is planned already
        names = statements.revert()

        def exchange() -> None:
            self.run(names)
            self._as_found(statements, "after the revert")

        return self.locked("revert", "copied", ACCESS_EXCLUSIVE, relations=relations, before=exchange)

    def go_home(self) -> dict[str, Any]:
        """Give other tables' foreign keys the target, drop the old tables, bring the target home."""
        statements = self.statements
        shape = statements.shape
        for number, (child, add, validate) in enumerate(statements.rebind_children()):
            self.once(f"child_{number}", [child, shape.target], [add], SHARE_ROW_EXCLUSIVE)
            if validate:
                self.alone(validate.encode())
        old = [side.old for side in shape.sides]
        relations = [*statements.authorities(), shape.target, *old, *statements.children(every=True)]

        def home() -> None:
            self.run(statements.contract())
            ledger.keep_shape(self.connection, self.change.name, None)

        return self.locked("contract", "contracted", ACCESS_EXCLUSIVE, relations=relations, before=home)

    def discard(self) -> dict[str, Any]:
        """Drop shadow and sync."""
        statements = self.statements

        def drop() -> None:
            self.run([*statements.note(armed=False), *statements.discard()])
            ledger.keep_shape(self.connection, self.change.name, None)

        relations = [*statements.authorities(), statements.shape.target]
        return self.locked("discard", None, ACCESS_EXCLUSIVE, relations=relations, before=drop)

    def _as_found(self, statements: Statements, when: str) -> None:
        """Raise when a source is not what it was when its shadow was made: what changed since would be lost, or is."""
        for side in statements.shape.sides:
            table = read(self.connection, side.schema_, side.name)
            if wrong := differences(side.as_found, table.facts() | table.surroundings() if table else {}):
                raise Refused(
                    f"{side.source_name} is not as it was found, {when}: {'; '.join(wrong[:5])}",
                    next="undo that, or discard the shadow and begin with phase 1",
                    page=NOT_CARRIED,
                )

    def _in_step(self, statements: Statements) -> None:
        """Raise Disarmed when the sync or the notes are switched off, or were: what was written then is unknown."""
        wrong = [
            f"trigger {row['name']} on {row['relation']} {'is' if row['enabled'] == 'D' else 'was'} disabled"
            for relation in statements.authorities()
            for row in self.connection.execute(SWITCHED, (relation, relation)).fetchall()
        ]
        if wrong:
            raise Disarmed(wrong)

    def _as_declared(self, statements: Statements) -> None:
        """Raise inside the swap when the new authority lacks anything that was carried or declared."""
        shape = statements.shape
        table = read(self.connection, shape.new_schema, shape.name)
        wrong = differences(shape.expected, table.facts() if table else {})
        self.connection.execute(
            "SET LOCAL search_path = pg_catalog"
        )  # types are named with their schema, as in the shape
        for side in shape.sides:
            wanted = [(c.name, c.type) for c in side.columns]
            found = [(r["name"], r["type"]) for r in self.connection.execute(FACE, (side.relation,)).fetchall()]
            wrong += [f"{side.source_name} has columns {found}, not {wanted}"] if found != wanted else []
        self.connection.execute("SET LOCAL search_path TO DEFAULT")
        if wrong:
            raise Refused(
                f"{shape.target} would not be as declared: {'; '.join(wrong[:5])}",
                next="undo what was changed on it, or discard the shadow and begin with phase 1",
                page=NOT_CARRIED,
            )
