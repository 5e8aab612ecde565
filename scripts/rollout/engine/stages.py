"""The stages of a change in one database: expand, swap, revert, contract, discard; each idempotent and resumable.

Every stage commits its work, its verification and its ledger entry in one transaction (chunked work: one a chunk), so
that after kill -9 at any instant the same call goes on where the ledger says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rollout.engine import chunks, comparison, indexes, ledger, notes
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection, Fence
from rollout.engine.locks import Stalls, limit, with_locks
from rollout.engine.rewrite import making
from rollout.engine.rewrite.description import differences, read
from rollout.engine.rewrite.shape import Shape, Side
from rollout.engine.rewrite.statements import Statements
from rollout.environment import Settings
from rollout.errors import Failed, Refused

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SWAP_ROUNDS_MAX = 20
SWAPPED = ("swapped", "contracting", "contracted")
FACE = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
Report = Callable[[str, int, float], None]


def _silent(_work: str, _rows: int, _rate: float) -> None:
    """Report nothing."""


@dataclass
class Outcome:
    """What a stage did: the stage reached, whether anything changed, seconds, and its facts (JSON-native)."""

    change: str
    stage: str
    changed: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {
            "change": self.change,
            "stage": self.stage,
            "changed": self.changed,
            "seconds": round(self.seconds, 3),
            **self.facts,
        }


class Stages:
    """The stages of one change over one connection, under one fence."""

    def __init__(
        self, connection: Connection, change: Change, fence: Fence, settings: Settings, report: Report = _silent
    ) -> None:
        """`report(work, rows, rows per second)` hears of progress."""
        self.connection, self.change, self.fence, self.settings, self.report = (
            connection,
            change,
            fence,
            settings,
            report,
        )
        ledger.install(connection, fence)

    def stage(self) -> str | None:
        """Return the stage that the ledger has."""
        return ledger.stage(self.connection, self.change.name)

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

    def expand(self) -> Outcome:
        """Create the shadow, arm the sync, copy, build, compare. Raises Failed when both sides differ."""
        started, outcome = time.monotonic(), Outcome(self.change.name, "compared")
        stage = self.stage()
        if stage in SWAPPED:
            return Outcome(self.change.name, str(stage))
        if stage is not None:
            self._refuse_edited()
        if stage == "mismatched":
            self.discard()
            stage = None
        outcome.changed = stage != "compared"
        if stage is None:
            outcome.facts["expand"] = (
                self._make() if self.change.swaps else self._locked("expand", "expanded", SHARE_ROW_EXCLUSIVE)
            )
            stage = "expanded"
        if stage == "expanded":
            outcome.facts["indexes"] = indexes.build(self.connection, self.change, "indexes", self.fence)
            outcome.facts["copies"] = self._fill() if self.change.swaps else []
            outcome.facts["copies"] += [self._chunks(self._work(name)) for name in self.change.works("copy")]
            self._each("validate")
            self._reach("copied")
        outcome.facts["compared"] = self.compare(note=True)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _make(self) -> dict[str, Any]:
        """Make the shadow, in a transaction that no client waits for; then arm the sync, which writers wait for."""
        change = self.change
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            if ledger.shape(self.connection, change.name):  # an earlier runner was killed between the two
                notes.run(self.connection, self.statements.discard())
            shape = making.Making(self.connection, change.name, change.declaration, change.sql("shadow")).run()
            notes.run(self.connection, Statements(shape).functions())
            ledger.keep_shape(self.connection, change.name, shape.model_dump(mode="json"))
        statements, stalls = Statements(shape), Stalls()
        relations = [*statements.authorities(), *(shape.foreign_key_tables if shape.partitioned else [])]

        def work() -> None:
            ledger.check(self.connection, self.fence)
            if shape.partitioned:  # of a partitioned table they can only be made while it is empty
                notes.run(self.connection, statements.foreign_keys())
            notes.run(self.connection, statements.arm())
            self._verify("expand")
            ledger.forget_checkpoints(self.connection, change.name)
            ledger.reach(self.connection, self.fence, change.name, "expanded", change.sha256)

        with_locks(self.connection, relations, SHARE_ROW_EXCLUSIVE, self.settings, stalls, work)
        return stalls.to_dict()

    def _fill(self) -> list[dict[str, Any]]:
        """Copy; then build what the copy was faster without: indexes, the constraints on them, foreign keys."""
        statements = self.statements
        shape = statements.shape
        copies = [self._chunks(self._copy(statements, side)) for side in shape.sides]
        named = [(name, statement.encode()) for name, statement in shape.after_copy]
        indexes.build_each(self.connection, named, self.fence)
        self._once("constraints", [shape.target], shape.constraints, ACCESS_EXCLUSIVE)
        if not shape.partitioned:
            self._once(
                "foreign_keys", [shape.target, *shape.foreign_key_tables],
                [f"{s} NOT VALID" for s in statements.foreign_keys()], SHARE_ROW_EXCLUSIVE,
            )  # fmt: skip
            for statement in statements.validate():
                with self.connection.transaction():
                    ledger.check(self.connection, self.fence)
                    self.connection.execute(statement.encode())
        # Without statistics of what was filled each range of the comparison would be a scan.
        self.connection.execute(f"ANALYZE {shape.target}".encode())
        return copies

    def _copy(self, statements: Statements, side: Side) -> chunks.Work:
        first, further = (statements.copy(side, after=after).encode() for after in (False, True))
        return chunks.Work(self.change.name, f"copy_{side.source_name}", first, further)

    def _once(self, name: str, relations: list[str], work: list[str], mode: str) -> None:
        """Run statements under locks in one transaction, with a checkpoint that says so."""
        if not work or ledger.checkpoint(self.connection, self.change.name, name)["finished"]:
            return

        def once() -> None:
            ledger.check(self.connection, self.fence)
            notes.run(self.connection, work)
            ledger.advance(self.connection, self.change.name, name, None, 0)

        with_locks(self.connection, relations, mode, self.settings, Stalls(), once)

    def compare(self, *, note: bool = False) -> dict[str, Any]:
        """Compare both sides whole; raise Failed when they differ, which discards the checkpoints unless swapped.

        `note`: before it, arm the notes of what is written from then on, which the swap compares again under its lock;
        only such a comparison reaches `compared`.
        """
        if not self.change.swaps:
            self._reach("compared" if note else "copied")
            return comparison.Compared().to_dict()
        swapped, statements = self.stage() == "swapped", self.statements
        taken_back = 0 if swapped else comparison.take_back(self.connection, statements, self.fence)
        stalls = notes.arm(self.connection, statements, self.fence, self.settings, armed=True) if note else Stalls()
        result = comparison.full(self.connection, statements, self.settings, self.report, reverse=swapped)
        self._refuse_difference(result.differing, discard=not swapped)
        if not swapped:
            self._reach("compared" if note else "copied", **result.to_dict())
        return result.to_dict() | {"taken_back": taken_back} | ({"noting": stalls.to_dict()} if note else {})

    def swap(self) -> Outcome:
        """Exchange the names: one short transaction. Raises Failed when dirty keys differ, Refused when the budget is spent."""
        stage = self.stage()
        if stage in SWAPPED or not self.change.swaps:
            return Outcome(self.change.name, str(stage))
        if stage != "compared":
            raise Refused(
                f"{self.change.name} is {stage or 'not expanded'}, not compared", next="invoke deploy --phase 2"
            )
        self._refuse_edited()
        started, differing, statements = time.monotonic(), [], self.statements
        relations = [*statements.authorities(), statements.shape.target, *statements.children()]

        def before() -> None:
            self._as_found(statements, "since it was expanded")
            result = comparison.dirty(self.connection, statements, comparison.DIRTY_UNDER_LOCK_MAX)
            differing.extend(result.differing)
            if differing:
                raise _Differs
            if comparison.left(self.connection, self.change.name, 1):
                raise _TooDirty
            notes.run(self.connection, [*statements.note(armed=False), *statements.swap()])
            self._as_declared(statements)

        for _ in range(SWAP_ROUNDS_MAX):
            shrunk = comparison.shrink_dirty(self.connection, statements, self.fence)
            self._refuse_difference(shrunk.differing, discard=True)
            try:
                facts = self._locked("swap", "swapped", ACCESS_EXCLUSIVE, relations=relations, before=before)
            except _TooDirty:
                continue  # waiting for the lock let notes pile up again: compare them outside it
            except _Differs:
                self._refuse_difference(differing, discard=True)
            return Outcome(self.change.name, "swapped", changed=True, seconds=time.monotonic() - started, facts=facts)
        raise Refused(
            f"{self.change.name}: more was written while waiting for the lock than may be compared under it",
            limit=f"{comparison.DIRTY_UNDER_LOCK_MAX} writes",
            next="repeat the command when the load is lower",
        )

    def revert(self) -> Outcome:
        """Exchange the names back: the same swap, the other way. The shadow stays, in step, for the next swap."""
        stage = self.stage()
        if stage in ("contracting", "contracted"):
            raise Refused(
                f"{self.change.name} is {stage}: the old relations are gone",
                next="restore a snapshot by name into a new place",
                page="runbooks/rollback.md#after-finalize",
            )
        if stage == "compared" and self.change.swaps:
            # Nobody will swap soon: the notes of what is written would only grow.
            notes.arm(self.connection, self.statements, self.fence, self.settings, armed=False)
            self._reach("copied")
        if stage != "swapped":
            return Outcome(self.change.name, str(stage))
        started, statements = time.monotonic(), self.statements
        shape = statements.shape
        # Clients take the view they use first, then what stands behind it.
        relations = [
            *statements.authorities(),
            shape.target,
            *(side.old for side in shape.sides),
            *statements.children(),
        ]

        def before() -> None:
            notes.run(self.connection, statements.revert())
            self._as_found(statements, "after the revert")

        facts = self._locked("revert", "copied", ACCESS_EXCLUSIVE, relations=relations, before=before)
        facts["rejects"] = ledger.rejects(self.connection)
        return Outcome(self.change.name, "copied", changed=True, seconds=time.monotonic() - started, facts=facts)

    def contract(self) -> Outcome:
        """Drop what is old and bring the new relations home. No way back but a restore."""
        started, stage = time.monotonic(), self.stage()
        if stage == "contracted":
            return Outcome(self.change.name, stage)
        if stage not in ("swapped", "contracting") and (self.change.swaps or stage != "compared"):
            raise Refused(f"{self.change.name} is {stage or 'not expanded'}, not swapped", next="invoke status")
        facts: dict[str, Any] = {}
        if stage != "contracting":
            facts["prepare"] = self._locked("contract_prepare", "contracting", ACCESS_EXCLUSIVE)
        facts["indexes"] = indexes.build(self.connection, self.change, "contract_indexes", self.fence)
        facts["copies"] = [self._chunks(self._work(name)) for name in self.change.works("contract_copy")]
        self._each("contract_validate")
        facts["contract"] = (
            self._go_home() if self.change.swaps else self._locked("contract", "contracted", ACCESS_EXCLUSIVE)
        )
        return Outcome(self.change.name, "contracted", changed=True, seconds=time.monotonic() - started, facts=facts)

    def _go_home(self) -> dict[str, Any]:
        statements = self.statements
        shape = statements.shape
        for number, (child, add, validate) in enumerate(statements.rebind_children()):
            self._once(f"child_{number}", [child, shape.target], [add], SHARE_ROW_EXCLUSIVE)
            with self.connection.transaction():
                ledger.check(self.connection, self.fence)
                self.connection.execute(validate.encode())
        relations = [
            *statements.authorities(),
            shape.target,
            *(side.old for side in shape.sides),
            *statements.children(every=True),
        ]

        def before() -> None:
            notes.run(self.connection, statements.contract())
            ledger.keep_shape(self.connection, self.change.name, None)

        return self._locked("contract", "contracted", ACCESS_EXCLUSIVE, relations=relations, before=before)

    def discard(self) -> Outcome:
        """Drop shadow and sync of a change that is not swapped; the next expand starts anew."""
        stage = self.stage()
        if stage is None:
            return Outcome(self.change.name, "none")
        if stage in SWAPPED:
            raise Refused(f"{self.change.name} is {stage}", next="invoke rollback")
        statements = self.statements if self.change.swaps else None

        def before() -> None:
            if statements:
                notes.run(self.connection, [*statements.note(armed=False), *statements.discard()])
                ledger.keep_shape(self.connection, self.change.name, None)

        relations = [*statements.authorities(), statements.shape.target] if statements else None
        facts = self._locked("discard", None, ACCESS_EXCLUSIVE, relations=relations, before=before)
        return Outcome(self.change.name, "none", changed=True, facts=facts)

    def _locked(
        self,
        name: str,
        reached: str | None,
        mode: str,
        *,
        relations: list[str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Do `before`, run <name>.sql, its verification and its ledger entry in one transaction that holds the locks."""
        stalls = Stalls()
        relations = [*(relations or []), *(r for r in getattr(self.change.declaration.locks, name, []))]

        def work() -> None:
            ledger.check(self.connection, self.fence)
            limit(self.connection, self.settings, stalls)
            if before:
                before()
            statements = self.change.sql(name)
            if statements:
                limit(self.connection, self.settings, stalls)
                self.connection.execute(statements)
            limit(self.connection, self.settings, stalls)
            self._verify(name)
            if reached is None or reached == "expanded":
                ledger.forget_checkpoints(self.connection, self.change.name)
            ledger.reach(self.connection, self.fence, self.change.name, reached, self.change.sha256)

        with_locks(self.connection, relations, mode, self.settings, stalls, work)
        return stalls.to_dict()

    def _verify(self, stage: str) -> None:
        statements = self.change.sql("verify")
        if statements and stage in ("expand", "swap", "revert", "contract"):
            self.connection.execute("SELECT set_config('rollout.stage', %s, true)", (stage,))
            self.connection.execute(statements)

    def _as_found(self, statements: Statements, when: str) -> None:
        """Raise when a source is not what it was when its shadow was made: what changed since would be lost, or is."""
        for side in statements.shape.sides:
            table = read(self.connection, side.schema_, side.name)
            if wrong := differences(side.as_found, table.facts() if table else {}):
                raise Refused(
                    f"{side.source_name} is not as it was found, {when}: {'; '.join(wrong[:5])}",
                    next="undo that, or discard the shadow and begin with phase 1",
                    page="runbooks/deploy.md#not-carried",
                )

    def _as_declared(self, statements: Statements) -> None:
        """Raise inside the swap when the new authority lacks anything that was carried or declared."""
        shape = statements.shape
        table = read(self.connection, shape.new_schema, shape.name)
        wrong = differences(shape.expected, table.facts() if table else {})
        self.connection.execute("SET LOCAL search_path = pg_catalog")  # types are named with their schema, as in the shape
        for side in shape.sides:
            wanted = [(c.name, c.type) for c in side.columns]
            found = [(r["name"], r["type"]) for r in self.connection.execute(FACE, (side.relation,)).fetchall()]
            wrong += [f"{side.source_name} has columns {found}, not {wanted}"] if found != wanted else []
        self.connection.execute("SET LOCAL search_path TO DEFAULT")
        if wrong:
            raise Refused(
                f"{shape.target} would not be as declared: {'; '.join(wrong[:5])}",
                next="undo what was changed on it, or discard the shadow and begin with phase 1",
                page="runbooks/deploy.md#not-carried",
            )

    def _each(self, name: str) -> None:
        """Run the statements of a file one by one, each in its own transaction (VALIDATE CONSTRAINT wants that)."""
        for statement in self.change.statements(name):
            with self.connection.transaction():
                ledger.check(self.connection, self.fence)
                self.connection.execute(statement)

    def _work(self, name: str) -> chunks.Work:
        statement = self.change.sql(name) or b""
        return chunks.Work(self.change.name, name, statement, statement)

    def _chunks(self, work: chunks.Work) -> dict[str, Any]:
        return chunks.run(self.connection, work, self.fence, self.settings, self.report).to_dict()

    def _reach(self, stage: str, **facts: Any) -> None:
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            ledger.reach(self.connection, self.fence, self.change.name, stage, self.change.sha256, **facts)

    def _refuse_edited(self) -> None:
        row = self.connection.execute(
            "SELECT sha256 FROM rollout.changes WHERE change = %s", (self.change.name,)
        ).fetchone()
        if row and row["sha256"] != self.change.sha256:
            raise Refused(
                f"the files of {self.change.name} changed since it was expanded here",
                next="put them back, or discard the shadow and begin with phase 1",
                page="runbooks/deploy.md#edited-change",
            )

    def _refuse_difference(self, differing: list[str], *, discard: bool) -> None:
        if not differing:
            return
        if discard:
            with self.connection.transaction():
                ledger.check(self.connection, self.fence)
                ledger.forget_checkpoints(self.connection, self.change.name)
                ledger.reach(
                    self.connection, self.fence, self.change.name, "mismatched", self.change.sha256, differing=differing
                )
        raise Failed(
            f"{self.change.name}: both sides differ in {len(differing)} or more keys: {', '.join(differing[:3])}",
            limit="0 differences",
            next="find what writes past the sync; the next deploy copies anew",
            page="runbooks/deploy.md#mismatch",
        )


class _Differs(Exception):
    """Leaves the swap's transaction: dirty keys differ; never seen outside."""


class _TooDirty(Exception):
    """Leaves the swap's transaction: too much was written since the last look; never seen outside."""
