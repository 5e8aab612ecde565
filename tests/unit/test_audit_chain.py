"""The chain of the audit trail by itself: blocks follow from one another, and the first wrong row is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from memorystore import MemoryStore, as_store

from rollout.audit import heads
from rollout.audit.chain import Block, Difference, Leaf, Place, difference, follow, genesis

LOG = UUID("6f0f2f0e-3a57-4c39-9f1c-7f6a2b1f0a11")
NOW = datetime(2026, 11, 25, 3, 12, tzinfo=UTC)


def leaf(number: int, words: str = "") -> Leaf:
    return Leaf(number, hashlib.sha256(f"{number}{words}".encode()).digest())


def block(last: Block | None, *numbers: int) -> Block:
    return follow(LOG, last, Place(numbers[-1], numbers[-1]), [leaf(n) for n in numbers], NOW)


def test_each_block_follows_from_the_one_before() -> None:
    """The first one follows from the log's own id; rows come back as they went in."""
    first = block(None, 1, 2, 3)
    second = block(first, 4)
    assert (first.number, first.prev, first.rows) == (1, genesis(LOG), 3)
    assert (second.number, second.prev) == (2, first.hash)
    assert list(first.each()) == [leaf(1), leaf(2), leaf(3)]
    assert first.prev != genesis(UUID(int=1))


@pytest.mark.parametrize(
    "edit",
    [
        {"number": 2}, {"until": Place(4, 3)}, {"until": Place(3, 4)}, {"prev": genesis(UUID(int=1))},
        {"leaves": b"".join(block(None, 1, 3, 2).leaves for _ in range(1))}, {"sealed_at": datetime(2026, 11, 25, tzinfo=UTC)},
    ],
)  # fmt: skip
def test_everything_in_a_block_is_in_its_hash(edit: dict[str, object]) -> None:
    """No field of a block can change without its hash."""
    made = block(None, 1, 2, 3)
    assert made.recomputed() == made.hash
    assert replace(made, **edit).recomputed() != made.hash  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([leaf(1), leaf(2), leaf(3)], None),
        ([leaf(1), leaf(2, "!"), leaf(3)], Difference("edited", 2)),
        ([leaf(1), Leaf(2, leaf(3).sha256), Leaf(3, leaf(2).sha256)], Difference("edited", 2)),
        ([leaf(1), leaf(3)], Difference("removed", 2)),
        ([leaf(1), leaf(2)], Difference("removed", 3)),
        ([], Difference("removed", 1)),
        ([leaf(1), leaf(9), leaf(2), leaf(3)], Difference("inserted", 9)),
        ([leaf(1), leaf(2), leaf(3), leaf(4)], Difference("inserted", 4)),
        ([leaf(2), leaf(1), leaf(3)], Difference("reordered", 1)),
    ],
)
def test_the_first_wrong_row_is_named(found: list[Leaf], wrong: Difference | None) -> None:
    """What was done to it is said as well."""
    assert difference([leaf(1), leaf(2), leaf(3)], found) == wrong


def test_heads_are_named_after_what_they_say() -> None:
    """A head is stored once, under its number and hash, and found by listing."""
    memory = MemoryStore()
    store, first = as_store(memory), block(None, 1)
    second = block(first, 2)
    for made in (second, first, second):
        heads.put(store, "pg-oltp-1", LOG, made)
    heads.put(store, "pg-oltp-10", LOG, first)
    assert heads.of(store, "pg-oltp-1") == [
        heads.Head(str(LOG), 1, first.hash.hex()), heads.Head(str(LOG), 2, second.hash.hex())
    ]  # fmt: skip
    assert len(memory.objects) == 3
