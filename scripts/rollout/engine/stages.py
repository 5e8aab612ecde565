"""The stages of a change in one database: expand, swap, revert, contract, discard; each idempotent and resumable.

Every stage commits its work, its verification and its ledger entry in one transaction (chunked work: one a chunk), so
that after kill -9 at any instant the same call goes on where the ledger says.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rollout.engine import backfill, indexes, ledger
from rollout.engine.acting import ACCESS_EXCLUSIVE, Report, silent
from rollout.engine.auditing import Auditing
from rollout.engine.changes import Change
from rollout.engine.kinds import Ddl, Kind
from rollout.engine.ledger import Connection, Fence
from rollout.engine.renaming import Renaming
from rollout.engine.rewrite.statements import Statements
from rollout.engine.rewriting import Rewriting
from rollout.engine.securing import Securing
from rollout.environment import Settings
from rollout.errors import Refused

KINDS: dict[str, type[Kind]] = {"rewrite": Rewriting, "row_security": Securing, "audit": Auditing, "rename": Renaming, "ddl": Ddl}
SWAPPED = ("swapped", "contracting", "contracted")


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
        self, connection: Connection, change: Change, fence: Fence, settings: Settings, report: Report = silent
    ) -> None:
        """`report(work, rows, rows per second)` hears of progress."""
        self.connection, self.change, self.fence, self.settings = connection, change, fence, settings
        self._do = KINDS.get(change.declaration.kind, Kind)(connection, change, fence, settings, report)

    @property
    def statements(self) -> Statements:
        """The statements of a rewrite whose shadow is made."""
        assert isinstance(self._do, Rewriting)
        return self._do.statements

    def stage(self) -> str | None:
        """Return the stage that the ledger has."""
        return self._do.stage()

    def expand(self) -> Outcome:
        """Do all that clients do not notice: shadow, sync, copy, indexes, comparison. Raises Failed when both sides differ."""
        started, outcome, do = time.monotonic(), Outcome(self.change.name, "compared"), self._do
        stage = self.stage()
        if stage in SWAPPED:
            return Outcome(self.change.name, str(stage))
        if stage not in (None, "expanding"):
            do.refuse_edited()
        if stage == "mismatched":
            self.discard()
            stage = None
        outcome.changed = stage != "compared"
        if stage in (None, "expanding"):
            outcome.facts["expand"] = do.make()
            stage = "expanded"
        if stage == "expanded":
            outcome.facts["indexes"] = indexes.build(self.connection, self.change, "indexes", self.fence)
            outcome.facts["copies"] = do.fill()
            works = [do.work(name) for name in self.change.works("copy")]
            works += [backfill.work(self.connection, self.change)] if self.change.declaration.backfill else []
            outcome.facts["copies"] += [do.chunked(work) for work in works]
            do.each("validate")
            do.reach("copied")
        outcome.facts["compared"] = self.compare(note=True)
        outcome.seconds = time.monotonic() - started
        return outcome

    def compare(self, *, note: bool = False) -> dict[str, Any]:
        """Compare both sides whole; raise Failed when they differ, which discards the checkpoints unless swapped.

        `note`: keys written from then on are noted and compared again by the swap; only such a comparison reaches `compared`.
        """
        swapped = self.stage() == "swapped"
        result = self._do.compare(note=note)
        if not swapped:
            self._do.reach("compared" if note else "copied", **result)
        return result

    def swap(self) -> Outcome:
        """Take effect: one short transaction. Raises Failed when dirty keys differ, Refused when the budget is spent."""
        stage = self.stage()
        unfinished = stage == "swapped" and self._do.unfinished()
        if (stage in SWAPPED and not unfinished) or not self.change.swaps:
            return Outcome(self.change.name, str(stage))
        if stage != "compared" and not unfinished:
            raise Refused(
                f"{self.change.name} is {stage or 'not expanded'}, not compared", next="invoke deploy --phase 2"
            )
        self._do.refuse_edited()
        started = time.monotonic()
        facts = self._do.swap()
        return Outcome(self.change.name, "swapped", changed=True, seconds=time.monotonic() - started, facts=facts)

    def revert(self) -> Outcome:
        """Take the swap back. What expand made stays, in step, for the next swap."""
        stage = self.stage()
        if stage in ("contracting", "contracted"):
            raise Refused(
                f"{self.change.name} is {stage}: the old relations are gone",
                next="restore a snapshot by name into a new place",
                page="runbooks/rollback.md#after-finalize",
            )
        if stage == "compared":
            self._do.rest()
        if stage is None or (stage != "swapped" and not self._do.half_done()):
            return Outcome(self.change.name, str(stage))
        started = time.monotonic()
        facts = self._do.revert()
        facts["rejects"] = ledger.rejects(self.connection)
        return Outcome(self.change.name, "copied", changed=True, seconds=time.monotonic() - started, facts=facts)

    def contract(self) -> Outcome:
        """Drop what is old and bring the new relations home. No way back but a restore."""
        started, stage, do = time.monotonic(), self.stage(), self._do
        if stage == "contracted":
            return Outcome(self.change.name, stage)
        if stage not in ("swapped", "contracting") and (self.change.swaps or stage != "compared"):
            raise Refused(f"{self.change.name} is {stage or 'not expanded'}, not swapped", next="invoke status")
        facts: dict[str, Any] = {}
        if do.prepares:
            if stage != "contracting":
                facts["prepare"] = do.locked("contract_prepare", "contracting", ACCESS_EXCLUSIVE)
            facts["indexes"] = indexes.build(self.connection, self.change, "contract_indexes", self.fence)
            facts["copies"] = [do.chunked(do.work(name)) for name in self.change.works("contract_copy")]
            do.each("contract_validate")
        facts["contract"] = do.go_home()
        return Outcome(self.change.name, "contracted", changed=True, seconds=time.monotonic() - started, facts=facts)

    def discard(self) -> Outcome:
        """Drop what expand made of a change that is not swapped, also in its middle; the next expand starts anew."""
        stage = self.stage()
        if stage is None:
            return Outcome(self.change.name, "none")
        if stage in SWAPPED or self._do.half_done():
            half = "" if stage in SWAPPED else ", and switched on in part"
            raise Refused(f"{self.change.name} is {stage}{half}", next="invoke rollback")
        return Outcome(self.change.name, "none", changed=True, facts=self._do.discard())
