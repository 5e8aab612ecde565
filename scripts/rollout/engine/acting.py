"""What every stage is made of: statements under locks with their ledger entry, chunked work, verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rollout.engine import chunks, ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection, Fence
from rollout.engine.locks import Stalls, limit, with_locks
from rollout.environment import Settings
from rollout.errors import Failed, Refused

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
VERIFIED = ("expand", "swap", "revert", "contract")
Report = Callable[[str, int, float], None]


def silent(_work: str, _rows: int, _rate: float) -> None:
    """Report nothing."""


class Acting:
    """One change over one connection, under one fence."""

    def __init__(
        self, connection: Connection, change: Change, fence: Fence, settings: Settings, report: Report = silent
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

    def run(self, statements: list[str]) -> None:
        """Execute statements in one round trip, in the caller's transaction."""
        if statements:
            self.connection.execute(";\n".join(statements).encode())

    def locked(
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
        relations = [*(relations or []), *getattr(self.change.declaration.locks, name, [])]

        def work() -> None:
            ledger.check(self.connection, self.fence)
            limit(self.connection, self.settings, stalls)
            if before:
                before()
            if statements := self.change.sql(name):
                limit(self.connection, self.settings, stalls)
                self.connection.execute(statements)
            limit(self.connection, self.settings, stalls)
            self.verify(name)
            if reached is None or reached == "expanded":
                ledger.forget_checkpoints(self.connection, self.change.name)
            ledger.reach(self.connection, self.fence, self.change.name, reached, self.change.sha256)

        with_locks(self.connection, relations, mode, self.settings, stalls, work)
        return stalls.to_dict()

    def once(self, name: str, relations: list[str], work: list[str], mode: str) -> None:
        """Run statements under locks in one transaction, with a checkpoint that says so."""
        if not work or ledger.checkpoint(self.connection, self.change.name, name)["finished"]:
            return

        def once() -> None:
            ledger.check(self.connection, self.fence)
            self.run(work)
            ledger.advance(self.connection, self.change.name, name, None, 0)

        with_locks(self.connection, relations, mode, self.settings, Stalls(), once)

    def verify(self, stage: str) -> None:
        """Run verify.sql, which raises when something is not as it should be; `rollout.stage` says which stage it is."""
        if stage in VERIFIED and (statements := self.change.sql("verify")):
            self.connection.execute("SELECT set_config('rollout.stage', %s, true)", (stage,))
            self.connection.execute(statements)

    def each(self, name: str) -> None:
        """Run the statements of a file one by one, each in its own transaction (VALIDATE CONSTRAINT wants that)."""
        for statement in self.change.statements(name):
            self.alone(statement)

    def alone(self, statement: bytes) -> None:
        """Run a statement in a transaction of its own, under the fence."""
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            self.connection.execute(statement)

    def work(self, name: str) -> chunks.Work:
        """Return the chunked work of a file."""
        statement = self.change.sql(name) or b""
        return chunks.Work(self.change.name, name, (statement, statement))

    def chunked(self, work: chunks.Work) -> dict[str, Any]:
        """Run chunked work to its end and return what it did."""
        return chunks.run(self.connection, work, self.fence, self.settings, self.report).to_dict()

    def reach(self, stage: str, **facts: Any) -> None:
        """Record a stage in a transaction of its own."""
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            ledger.reach(self.connection, self.fence, self.change.name, stage, self.change.sha256, **facts)

    def refuse_edited(self) -> None:
        """Raise Refused when the files differ from those from which the shadow was made here."""
        row = self.connection.execute(
            "SELECT sha256 FROM rollout.changes WHERE change = %s", (self.change.name,)
        ).fetchone()
        if row and row["sha256"] != self.change.sha256:
            raise Refused(
                f"the files of {self.change.name} changed since it was expanded here",
                next=f"put them back, or  invoke change.discard --change {self.change.name}, and begin with phase 1",
                page="runbooks/deploy.md#edited-change",
            )

    def refuse_difference(self, differing: list[str], *, discard: bool, what: str = "") -> None:
        """Raise Failed when there are differences; `discard`: nothing that was copied counts any more; `what`: else than keys."""
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
            f"{self.change.name}: {what or f'both sides differ in {len(differing)} or more keys'}: {', '.join(differing[:3])}",
            limit="0 differences",
            next="find what writes past the sync; the next deploy copies anew",
            page="runbooks/deploy.md#mismatch",
        )
