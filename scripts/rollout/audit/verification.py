"""Verification: the chain is computed anew from the log's rows, and held against itself and the heads in the object store.

Blocks and rows are read a stretch at a time, each in a short transaction of its own: what is sealed does not change, so no
snapshot has to outlive a stretch. Nothing that is stored in the database as code is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from rollout.audit import log
from rollout.audit.chain import START, Block, Difference, Place, difference, genesis
from rollout.audit.heads import Head
from rollout.audit.log import Sealed, Tail
from rollout.engine.ledger import Connection

STRETCH = 20  # blocks read at a time
CHECKED_MAX = 20  # rows behind a wrong one that may be named as well


@dataclass(frozen=True)
class Wrong:
    """The first thing that is wrong: what, in which block, at which row (None: not one row's fault), and a sentence."""

    kind: str
    block: int
    row: int | None
    says: str


@dataclass(frozen=True)
class Verdict:
    """What was found: `wrong` None is a pass. `heads`: how many in the object store were held against the chain."""

    log: str
    blocks: int
    rows: int
    heads: int
    head: str
    unsealed: Tail
    seconds: float
    wrong: Wrong | None

    @property
    def verdict(self) -> str:
        """Return pass or fail."""
        return "fail" if self.wrong else "pass"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {"verdict": self.verdict, **asdict(self), "unsealed": self.unsealed._asdict()}


class Verification:
    """One pass over one log."""

    def __init__(self, connection: Connection, heads: Sequence[Head]) -> None:
        """`heads`: read before the log, which may grow meanwhile."""
        self.connection, self.heads = connection, heads
        self.blocks = self.rows = 0
        self.doubted: int | None = None  # the first row behind the last head that agreed

    def run(self) -> Verdict:
        """Go over the whole log and return the verdict; the first thing that is wrong ends it."""
        started = time.monotonic()
        identity, _ = log.identity(self.connection)
        known = {head.number: head.hash for head in self.heads if head.log == str(identity)}
        prev, after, last = genesis(identity), START, None
        wrong = self._heads(str(identity))
        while not wrong and (stretch := log.blocks(self.connection, last.number if last else 0, STRETCH)):
            wrong = self._stretch(stretch, known, prev, after)
            last = stretch[-1]
            prev, after = last.hash, last.until
        if not wrong:
            wrong = self._end(known, last)
        head = last.hash.hex() if last else ""
        return Verdict(
            str(identity), self.blocks, self.rows, len(known), head, log.tail(self.connection),
            round(time.monotonic() - started, 3), wrong,
        )  # fmt: skip

    def _heads(self, identity: str) -> Wrong | None:
        """Say when the store knows of another log here, or of two chains of this one."""
        others = sorted({head.log for head in self.heads} - {identity})
        if others:
            says = f"the object store has heads of another log, {others[0]}: this one was put in its place"
            return Wrong("replaced", 0, None, says)
        for one, other in zip(self.heads, self.heads[1:], strict=False):
            if one.number == other.number:
                says = f"the object store has two heads of block {one.number}: the chain was sealed anew"
                return Wrong("forked", one.number, None, says)
        return None

    def _stretch(self, blocks: Sequence[Block], known: dict[int, str], prev: bytes, after: Place) -> Wrong | None:
        with self.connection.transaction(), closing(log.leaves(self.connection, after, blocks[-1].until)) as rows:
            held: list[Sealed] = []
            for block in blocks:
                if wrong := self._block(block, known, prev, after):
                    return wrong
                found, held = _up_to(rows, held, block)
                if differs := difference(list(block.each()), [row.leaf for row in found]):
                    return self._row(block, differs)
                self.blocks, self.rows = self.blocks + 1, self.rows + block.rows
                prev, after = block.hash, block.until
        return None

    def _block(self, block: Block, known: dict[int, str], prev: bytes, after: Place) -> Wrong | None:
        """Hold a block against itself, the one before it and its head."""
        first = next((leaf.id for leaf in block.each()), None)
        self.doubted = first if self.doubted is None else self.doubted
        if block.number != self.blocks + 1:
            return Wrong("removed", self.blocks + 1, None, f"block {self.blocks + 1} is missing")
        if block.number in known and known[block.number] != block.hash.hex():
            says = f"block {block.number} has another head in the object store: sealed anew from row {self.doubted} on"
            return Wrong("resealed", block.number, self.doubted, says)
        if block.prev != prev or block.recomputed() != block.hash or block.until <= after:
            says = f"block {block.number} was edited: it does not follow from the one before it"
            return Wrong("edited", block.number, first, says)
        if block.number in known:
            self.doubted = None
        return None

    def _row(self, block: Block, differs: Difference) -> Wrong:
        return Wrong(differs.kind, block.number, differs.id, f"row {differs.id} was {differs.kind} (block {block.number})")

    def _end(self, known: dict[int, str], last: Block | None) -> Wrong | None:
        """Say when the store has heads behind the last block."""
        number = last.number if last else 0
        behind = [n for n in known if n > number]
        if not behind:
            return None
        says = f"cut off: the object store has the head of block {max(behind)}, and the log ends with block {number}"
        return Wrong("removed", number + 1, None, says)


def verify(connection: Connection, heads: Sequence[Head]) -> Verdict:
    """Return whether a log is what was sealed, all of it."""
    return Verification(connection, heads).run()


def _up_to(rows: Iterator[Sealed], held: list[Sealed], block: Block) -> tuple[list[Sealed], list[Sealed]]:
    """Return the rows of a block, few more than it has at most, and those read beyond it."""
    found = [*held, *islice(rows, max(0, block.rows + CHECKED_MAX - len(held)))]
    mine = [row for row in found if row.place <= block.until]
    return mine, found[len(mine) :]


def gone(heads: Sequence[Head]) -> Verdict:
    """Return the verdict on a log that is not there any more, although the object store has heads of it."""
    last = heads[-1]
    wrong = Wrong("removed", 1, None, f"the whole log is gone: the object store has heads of it up to block {last.number}")
    return Verdict(last.log, 0, 0, len(heads), "", Tail(0, 0.0), 0.0, wrong)
