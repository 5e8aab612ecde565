"""The chain over an audit log: blocks of sealed rows, each with the hash of the one before it.

The order of the log is (xact, id): the transaction's number, then the row's. It is decided when a row is written, and not when
it commits, so a block must never end in front of a transaction that may still commit a row. What makes that safe:

- a snapshot's xmin (the horizon) is the lowest number of any transaction that was still running, or prepared, when it was taken;
- a transaction whose number is below a horizon has ended, and can write no more rows; a new one gets a higher number;
- a row's xact is the number of its top-level transaction, put there by the database itself.

So all rows below a horizon that a later statement sees are all that there will ever be below it. The sealer seals exactly these,
in their order, and remembers with the block how far it came (`until`). Whatever turns up at or below that place later was not
written by the product: `verification` calls it inserted. An open transaction, however old, only makes the unsealed tail longer.

A leaf is the SHA-256 of one row, computed by the database from the row's own values (sql/leaves.sql). A block keeps its rows'
ids and leaves, so that the first wrong row can be named, and its hash covers them, its number, its end and the hash before.
The first block follows from the log's own id, so that no block of another log fits.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import UUID

Kind = Literal["edited", "removed", "inserted", "reordered"]
BLOCK_ROWS_MAX = 1000
LAST_ID = 2**63 - 1
LEAF = struct.Struct(">q32s")


class Place(NamedTuple):
    """A place in the order of a log."""

    xact: int
    id: int


class Leaf(NamedTuple):
    """One row: its id and the SHA-256 of its values."""

    id: int
    sha256: bytes


START = Place(-1, -1)


@dataclass(frozen=True)
class Block:
    """A block of a chain. `until`: the place that it reaches, rows or not; `leaves`: of its rows, in order."""

    number: int
    until: Place
    leaves: bytes
    prev: bytes
    hash: bytes
    sealed_at: datetime

    @property
    def rows(self) -> int:
        """How many rows it seals."""
        return len(self.leaves) // LEAF.size

    def each(self) -> Iterator[Leaf]:
        """Yield its rows, in order."""
        return (Leaf(*found) for found in LEAF.iter_unpack(self.leaves))

    def recomputed(self) -> bytes:
        """Return the hash that its other fields give."""
        when = self.sealed_at.astimezone(UTC).isoformat(timespec="microseconds")
        said = f"{self.number} {self.until.xact} {self.until.id} {self.rows} {when}\n"
        return hashlib.sha256(said.encode() + self.prev + hashlib.sha256(self.leaves).digest()).digest()


class Difference(NamedTuple):
    """The first row that is not what was sealed."""

    kind: Kind
    id: int


def genesis(log: UUID) -> bytes:
    """Return what the first block of a log follows from."""
    return hashlib.sha256(log.bytes).digest()


def follow(log: UUID, last: Block | None, until: Place, leaves: Sequence[Leaf], now: datetime) -> Block:
    """Return the block that follows `last` (None: the first one)."""
    packed = b"".join(LEAF.pack(*leaf) for leaf in leaves)
    number, prev = (last.number + 1, last.hash) if last else (1, genesis(log))
    made = Block(number, until, packed, prev, b"", now)
    return Block(number, until, packed, prev, made.recomputed(), now)


def difference(sealed: Sequence[Leaf], found: Sequence[Leaf]) -> Difference | None:
    """Return the first row of a block in which what was sealed and what is found differ, or None."""
    for place, want in enumerate(sealed):
        got = found[place] if place < len(found) else None
        if got == want:
            continue
        if got is None or want.id not in {leaf.id for leaf in found}:
            return Difference("removed", want.id)
        if got.id == want.id:
            return Difference("edited", want.id)
        known = {leaf.id for leaf in sealed}
        return Difference("reordered", want.id) if got.id in known else Difference("inserted", got.id)
    return Difference("inserted", found[len(sealed)].id) if len(found) > len(sealed) else None
