"""What a change does at each stage: by its files alone, or generated from what it declares. The stages ask, a kind does."""

from __future__ import annotations

from typing import Any, ClassVar

from rollout.engine import comparison, ledger
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE, Acting
from rollout.engine.locks import Stalls, with_locks


class Kind(Acting):
    """A change that is its .sql files. Each method is one stage's act, and returns its facts (JSON-native)."""

    # Whether contract begins with contract_prepare.sql, from which on there is no way back.
    prepares: ClassVar[bool] = True

    def make(self) -> dict[str, Any]:
        """Make what clients do not notice; reach `expanded`, and before it `expanding` when that takes several transactions."""
        return self.locked("expand", "expanded", SHARE_ROW_EXCLUSIVE)

    def fill(self) -> list[dict[str, Any]]:
        """Copy what there is to copy; return what each piece of work did."""
        return []

    def compare(self, *, note: bool) -> dict[str, Any]:
        """Compare both sides, where there are two; `note`: keys written from then on are noted for the swap."""
        return comparison.Compared().to_dict()

    def rest(self) -> None:
        """Put away what only a swap that is near needs; called when a rollback finds the change compared and not swapped."""

    def swap(self) -> dict[str, Any]:
        """Take effect; reach `swapped`."""
        return self.locked("swap", "swapped", ACCESS_EXCLUSIVE)

    def unfinished(self) -> bool:
        """Return whether a swapped change has something left to swap: a part that a kill left, or what was made since."""
        return False

    def half_done(self) -> bool:
        """Return whether something took effect before `swapped` was reached, so that a revert has work to do."""
        return False

    def revert(self) -> dict[str, Any]:
        """Take the swap back; reach `copied`."""
        return self.locked("revert", "copied", ACCESS_EXCLUSIVE)

    def go_home(self) -> dict[str, Any]:
        """Drop what is old; reach `contracted`."""
        return self.locked("contract", "contracted", ACCESS_EXCLUSIVE)

    def discard(self) -> dict[str, Any]:
        """Drop what `make` made."""
        return self.locked("discard", None, ACCESS_EXCLUSIVE)


class Ddl(Kind):
    """A change whose expand.sql runs statement by statement, each behind its own short locks."""

    def make(self) -> dict[str, Any]:
        """Run what has not run yet; a statement and the note that it ran are one transaction.

        Raises Refused when some have run and the files are other ones now: which of theirs is the next, nobody can say.
        """
        change, stalls = self.change, Stalls()
        done = int(ledger.checkpoint(self.connection, change.name, "expand")["last_key"] or 0)
        if done:
            self.refuse_edited()
        for number, statement in enumerate(change.statements("expand"), 1):

            def work(number: int = number, statement: bytes = statement) -> None:
                ledger.check(self.connection, self.fence)
                self.connection.execute(statement)
                if number == 1:
                    ledger.reach(self.connection, self.fence, change.name, "expanding", change.sha256)
                ledger.advance(self.connection, change.name, "expand", str(number), 0)

            if number > done:
                with_locks(self.connection, [], ACCESS_EXCLUSIVE, self.settings, stalls, work)
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            self.verify("expand")
            ledger.forget_checkpoints(self.connection, change.name)
            ledger.reach(self.connection, self.fence, change.name, "expanded", change.sha256)
        return stalls.to_dict()
