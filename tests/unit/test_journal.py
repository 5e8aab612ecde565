"""The journal: canonical, chained, found again quickly, and every kind of damage seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memorystore import MemoryStore, as_store
from pydantic import JsonValue

from rollout import journal

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def key(seq: int) -> str:
    """Return where event `seq` of run r lies."""
    return f"runs/r/journal/{seq:08d}.json"


def written(count: int) -> MemoryStore:
    """Return a store with a journal of `count` events."""
    memory = MemoryStore()
    writer = journal.Journal(as_store(memory), "r", token=7, operator="ana")
    for number in range(count):
        writer.append("step", number=number)
    return memory


def check(memory: MemoryStore) -> list[str]:
    """Return the problems of run r."""
    return journal.check(as_store(memory), "r")


def test_events_come_back_as_written() -> None:
    """Numbers count from 1, facts are kept, and an intact journal has no problems."""
    memory = written(3)
    events = list(journal.read(as_store(memory), "r"))
    assert [(e.seq, e.kind, e.token, e.operator, e.facts) for e in events] == [
        (n + 1, "step", 7, "ana", {"number": n}) for n in range(3)
    ]
    assert events[0].time.endswith("Z") and len(events[0].time) == len("2026-11-22T03:12:00.123Z")
    assert check(memory) == []


@given(JSON)
def test_any_json_survives(value: JsonValue) -> None:
    """Whatever JSON holds is written in one form, and that form is what is checked."""
    memory = MemoryStore()
    journal.append(as_store(memory), "r", "step", value=value)
    assert next(journal.read(as_store(memory), "r")).facts == {"value": value}
    assert check(memory) == []


def test_nan_is_refused() -> None:
    """A number that JSON does not have is not written."""
    memory = MemoryStore()
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append(as_store(memory), "r", "step", value=float("nan"))
    assert memory.objects == {}


def edit(memory: MemoryStore, seq: int) -> None:
    """Change a fact of an event."""
    body, etag = memory.read(key(seq))
    memory.replace(key(seq), body.replace(b'"number":', b'"Number":'), etag)


def swap(memory: MemoryStore, one: int, two: int) -> None:
    """Exchange two events."""
    memory.objects[key(one)], memory.objects[key(two)] = memory.objects[key(two)], memory.objects[key(one)]


def cut(memory: MemoryStore, *seqs: int) -> None:
    """Delete events."""
    for seq in seqs:
        del memory.objects[key(seq)]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda m: edit(m, 1), "was changed"),
        (lambda m: edit(m, 3), "was changed"),
        (lambda m: edit(m, 5), "was changed"),
        (lambda m: swap(m, 2, 3), "holds event 3"),
        (lambda m: cut(m, 3), "gap"),
        (lambda m: cut(m, 1), "gap"),
        (lambda m: cut(m, 5), "truncated"),
        (lambda m: cut(m, 1, 2, 3, 4, 5), "truncated"),
        (lambda m: m.objects.pop("runs/r/journal-head.json"), "head is missing"),
        (lambda m: m.create(key(6), b'{"kind": "nothing"}'), "is no event"),
        (lambda m: m.create(key(9), m.read(key(5))[0]), "gap"),
    ],
)
def test_damage_is_seen(damage: Callable[[MemoryStore], None], word: str) -> None:
    """An edit, a swap, a gap, a cut end, a lost head and a stranger are each named."""
    memory = written(5)
    damage(memory)
    assert any(word in problem for problem in check(memory))


def test_appending_does_not_heal_a_cut_end() -> None:
    """Events added after the end was cut off go behind the head, and the gap stays to be seen."""
    memory = written(5)
    cut(memory, 4, 5)
    assert journal.append(as_store(memory), "r", "step").seq == 6
    assert any("gap" in problem for problem in check(memory))


def test_a_head_left_behind_by_a_kill_is_no_damage() -> None:
    """Killed between an event and the head, the journal is intact, and the next event goes on after it."""
    memory = written(2)
    memory.die_before = "journal-head.json"
    with pytest.raises(KeyboardInterrupt):
        journal.append(as_store(memory), "r", "step")
    assert check(memory) == []
    assert journal.append(as_store(memory), "r", "step").seq == 4
    assert check(memory) == []


def test_a_late_writer_finds_the_end_without_a_listing() -> None:
    """A writer 1,000 events behind needs some 30 requests, not 1,000, and one that is at the end needs three."""
    memory = MemoryStore()
    late = journal.Journal(as_store(memory), "r")
    late.append("first")
    busy = journal.Journal(as_store(memory), "r")
    for number in range(1_000):
        busy.append("step", number=number)
    memory.requests = 0
    assert late.append("last").seq == 1_002
    assert memory.requests <= 30
    memory.requests = 0
    late.append("more")
    assert memory.requests == 3
    assert check(memory) == []


def test_the_copy_has_the_same_lines(tmp_path: Path) -> None:
    """The local copy holds each event's bytes, and a folder that cannot be written stops nothing."""
    memory = MemoryStore()
    writer = journal.Journal(as_store(memory), "r", mirror=tmp_path)
    events = [writer.append("step", number=n) for n in range(3)]
    assert (tmp_path / "r" / "journal.jsonl").read_bytes() == b"".join(e.canonical() + b"\n" for e in events)
    (tmp_path / "file").write_text("")
    journal.Journal(as_store(memory), "r", mirror=tmp_path / "file").append("step")
    assert check(memory) == []
