"""The stages of a change in one database: expand, swap, revert, contract, discard; each idempotent and resumable.

Every stage commits its work, its verification and its ledger entry in one transaction (chunked work: one a chunk), so
that after kill -9 at any instant the same call goes on where the ledger says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from rollout.engine import chunks, comparison, indexes, ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection, Fence
from rollout.engine.locks import Stalls, limit, with_locks
from rollout.environment import Settings
from rollout.errors import Failed, Refused

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SWAP_ROUNDS_MAX = 20
SWAPPED = ("swapped", "contracting", "contracted")
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

    def expand(self) -> Outcome:
        """Create the shadow, arm the sync, copy, validate, compare. Raises Failed when both sides differ."""
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
            outcome.facts["expand"] = self._create()
            stage = "expanded"
        if stage == "expanded":
            outcome.facts["indexes"] = indexes.build(self.connection, self.change, "indexes", self.fence)
            outcome.facts["copies"] = [self._chunks(work) for work in self.change.works("copy")]
            self._each("validate")
            self._analyse()
            self._reach("copied")
        outcome.facts["compared"] = self.compare(note=True)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _create(self) -> dict[str, Any]:
        """Create the shadow and arm the sync; with an arm.sql the creation takes no lock that clients would wait for."""
        if self.change.sql("arm") is None:
            return self._locked("expand", "expanded", SHARE_ROW_EXCLUSIVE, after=self._carried)
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            self.connection.execute(self.change.sql("expand") or b"")
        return self._locked("arm", "expanded", SHARE_ROW_EXCLUSIVE, after=self._carried)

    def compare(self, *, note: bool = False) -> dict[str, Any]:
        """Compare both sides whole; raise Failed when they differ, which discards the checkpoints unless swapped.

        `note`: before it, arm the notes of what is written from then on, which the swap compares again under its lock;
        only such a comparison reaches `compared`.
        """
        swapped = self.stage() == "swapped"
        if note:
            self._noting(armed=True)
        result = comparison.full(
            self.connection, self.change, self.settings, self.report, old_schema="v1" if swapped else "public"
        )
        self._refuse_difference(result.differing, discard=not swapped)
        if not swapped:
            self._reach("compared" if note else "copied", **result.to_dict())
        return result.to_dict()

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
        started, differing = time.monotonic(), []

        def before() -> None:
            self._carried()
            result = comparison.dirty(self.connection, self.change, comparison.DIRTY_UNDER_LOCK_MAX)
            differing.extend(result.differing)
            if differing:
                raise _Differs
            if comparison.left(self.connection, self.change, 1):
                raise _TooDirty
            self._note_nothing()

        for _ in range(SWAP_ROUNDS_MAX):
            shrunk = comparison.shrink_dirty(self.connection, self.change, self.fence)
            self._refuse_difference(shrunk.differing, discard=True)
            try:
                facts = self._locked("swap", "swapped", ACCESS_EXCLUSIVE, before=before, after=self._same_face)
            except _TooDirty:
                continue  # waiting for the lock let notes pile up again: compare them outside it
            except _Differs:
                self._refuse_difference(differing, discard=True)
            return Outcome(self.change.name, "swapped", changed=True, seconds=time.monotonic() - started, facts=facts)
        raise Refused(
            f"{self.change.name}: more was written while waiting for the lock than may be compared under it",
            limit=f"{comparison.DIRTY_UNDER_LOCK_MAX} writes", next="repeat the command when the load is lower",
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
            self._noting(armed=False)
            self._reach("copied")
        if stage != "swapped":
            return Outcome(self.change.name, str(stage))
        started = time.monotonic()
        facts = self._locked("revert", "copied", ACCESS_EXCLUSIVE)
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
        facts["copies"] = [self._chunks(work) for work in self.change.works("contract_copy")]
        self._each("contract_validate")
        facts["contract"] = self._locked("contract", "contracted", ACCESS_EXCLUSIVE)
        return Outcome(self.change.name, "contracted", changed=True, seconds=time.monotonic() - started, facts=facts)

    def discard(self) -> Outcome:
        """Drop shadow and sync of a change that is not swapped; the next expand starts anew."""
        stage = self.stage()
        if stage is None:
            return Outcome(self.change.name, "none")
        if stage in SWAPPED:
            raise Refused(f"{self.change.name} is {stage}", next="invoke rollback")
        facts = self._locked("discard", None, ACCESS_EXCLUSIVE, before=self._note_nothing)
        return Outcome(self.change.name, "none", changed=True, facts=facts)

    def _locked(
        self, name: str, reached: str | None, mode: str,
        before: Callable[[], None] | None = None, after: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Run <name>.sql, its verification and its ledger entry in one transaction that holds the declared locks."""
        stalls = Stalls()
        relations = getattr(self.change.declaration.locks, name)

        def work() -> None:
            ledger.check(self.connection, self.fence)
            if before:
                before()
            statements = self.change.sql(name)
            if statements:
                limit(self.connection, self.settings, stalls)
                self.connection.execute(statements)
            limit(self.connection, self.settings, stalls)
            if after:
                after()
            self._verify(name)
            if reached is None or reached == "expanded":
                ledger.forget_checkpoints(self.connection, self.change.name)
            ledger.reach(self.connection, self.fence, self.change.name, reached, self.change.sha256)

        with_locks(self.connection, relations, mode, self.settings, stalls, work)
        return stalls.to_dict()

    def _verify(self, stage: str) -> None:
        statements = self.change.sql("verify")
        stage = "expand" if stage == "arm" else stage
        if statements and stage in ("expand", "swap", "revert", "contract"):
            self.connection.execute("SELECT set_config('rollout.stage', %s, true)", (stage,))
            self.connection.execute(statements)

    def _each(self, name: str) -> None:
        """Run the statements of a file one by one, each in its own transaction (VALIDATE CONSTRAINT wants that)."""
        for statement in self.change.statements(name):
            with self.connection.transaction():
                ledger.check(self.connection, self.fence)
                self.connection.execute(statement)

    def _analyse(self) -> None:
        """Give the planner statistics of what was filled: without them each range of the comparison would be a scan."""
        for relation in self.change.declaration.shadow:
            self.connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*relation.split("."))))

    def _chunks(self, work: str) -> dict[str, Any]:
        done = chunks.run(self.connection, self.change, work, self.fence, self.settings, self.report)
        return done.to_dict()

    def _reach(self, stage: str, **facts: Any) -> None:
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            ledger.reach(self.connection, self.fence, self.change.name, stage, self.change.sha256, **facts)

    def _noting(self, *, armed: bool) -> None:
        """Arm the notes of dirty keys anew, or disarm them, under a lock that only writers wait for."""

        def work() -> None:
            ledger.check(self.connection, self.fence)
            self.connection.execute("DELETE FROM rollout.dirty WHERE change = %s", (self.change.name,))
            self._note_nothing()
            if armed:
                self._note_writes()

        relations = list(self.change.declaration.authority)
        with_locks(self.connection, relations, SHARE_ROW_EXCLUSIVE, self.settings, Stalls(), work)

    def _carried(self) -> None:
        """Raise when the authority has something that the shadow does not carry (pitfall 10 of the field)."""
        for relation in self.change.declaration.authority:
            names = (relation, self.change.declaration.shadow[0])
            row = self.connection.execute("SELECT rollout.not_carried(%s::regclass, %s::regclass) AS found", names).fetchone()
            if row and row["found"]:
                raise Refused(
                    f"{self.change.name} does not carry what {relation} has: {row['found']}",
                    next="declare it in the change, or take it away first", page="runbooks/deploy.md#not-carried",
                )

    def _note_writes(self) -> None:
        for relation, key in self.change.declaration.authority.items():
            name = sql.Identifier(*relation.split("."))
            arguments = (sql.Literal(self.change.name), sql.Literal(relation.split(".")[1]), sql.Literal(key))
            self.connection.execute(sql.SQL(
                "CREATE TRIGGER zz_rollout_note_dirty AFTER INSERT OR UPDATE OR DELETE ON {}"
                " FOR EACH ROW EXECUTE FUNCTION rollout.note_dirty({}, {}, {})"
            ).format(name, *arguments))
            self.connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER zz_rollout_note_dirty").format(name))

    def _note_nothing(self) -> None:
        for relation in self.change.declaration.authority:
            self.connection.execute(
                sql.SQL("DROP TRIGGER IF EXISTS zz_rollout_note_dirty ON {}").format(
                    sql.Identifier(*relation.split("."))
                )
            )

    def _same_face(self) -> None:
        """Raise inside the swap when an old client would see other columns, types or privileges than before."""
        for relation in self.change.declaration.authority:
            was = f"v1.{relation.split('.')[1]}"
            self.connection.execute("SELECT rollout.assert_same_face(%s::regclass, %s::regclass)", (was, relation))

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
