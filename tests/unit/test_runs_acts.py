"""Acts that are no phase: what they leave of the run, who may begin them, and what a kill in their beginning leaves."""

from __future__ import annotations

import pytest
from memorystore import MemoryStore, as_store
from road_fakes import begin, passed

from rollout import order, runs, screen
from rollout.errors import BadInput, Refused
from rollout.session import Session


@pytest.fixture
def memory() -> MemoryStore:
    """A store with a run whose first two phases have passed."""
    made = MemoryStore()
    passed(made, "1", "2")
    return made


def act(memory: MemoryStore) -> Session:
    """Begin to take a change back."""
    return runs.open_act(
        as_store(memory), "sandbox", "change.revert", operator="ana", lease_seconds=60,
        change=lambda state: order.take_apart(state, "005 was taken back"), facts={"change": "005"},
    )  # fmt: skip


def state(memory: MemoryStore) -> runs.RunState:
    """Return the newest run."""
    found = runs.current(as_store(memory))
    assert found is not None
    return found


def test_an_act_makes_phase_2_pass_again(memory: MemoryStore) -> None:
    """Phase 3 waits for it, and a rollback has still something to take back; the lease is free again."""
    with act(memory):
        held = state(memory)
        assert held.lease is not None
        assert held.lease.phase == "change.revert"
    after = state(memory)
    assert (after.lease, after.token, after.phases["2"].verdict) == (None, 3, "fail")
    with pytest.raises(BadInput, match="it failed: 005 was taken back"):
        begin(memory, "3")
    assert after.has_begun()
    passed(memory, "2", "3")


def test_an_act_leaves_no_verdict_when_it_fails(memory: MemoryStore) -> None:
    """An error gives the lease back, and no phase a verdict of its own."""
    passed(memory, "3", "rollback")
    with pytest.raises(Refused, match="no"), act(memory):
        raise Refused("no", next="")
    after = state(memory)
    assert (after.lease, after.rolled_back is not None) == (None, True)
    assert {p: after.phases[p].verdict for p in ("2", "3", "rollback")} == {"2": "pass", "3": "pass", "rollback": "pass"}


def test_one_at_a_time(memory: MemoryStore) -> None:
    """Neither beginning while the other is at work, told by its command."""
    with act(memory), pytest.raises(Refused, match=r"invoke change\.revert of ana is at work"):
        begin(memory, "3")
    begin(memory, "2")
    with pytest.raises(Refused, match="invoke deploy --phase 2 of ana is at work"):
        act(memory)


def test_a_rollback_that_has_not_ended_goes_first(memory: MemoryStore) -> None:
    """What it has begun to take back is its own."""
    begin(memory, "rollback").failed("a database is away")
    with pytest.raises(BadInput, match=r"the rollback of run .* has not ended .*\n.*invoke rollback"):
        act(memory)


def test_a_kill_in_the_beginning_is_repeated(memory: MemoryStore) -> None:
    """Between the lease and the state: the same command raises the token once more and goes on."""
    memory.die_before = "state.json"
    with pytest.raises(KeyboardInterrupt):
        act(memory)
    assert state(memory).phases["2"].verdict == "pass"
    with act(memory):
        assert (state(memory).token, state(memory).phases["2"].verdict) == (4, "fail")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("next: invoke change.revert --change 5", "next: invoke change.revert -e production --change 5"),
        ("next: invoke change.plan", "next: invoke change.plan -e production"),
        ("next: invoke change.plan -e production", "next: invoke change.plan -e production"),
        ("invoke rollback, invoke deploy --phase 2", "invoke rollback -e production, invoke deploy --phase 2 -e production"),
    ],
)
def test_what_is_proposed_names_the_environment(words: str, told: str) -> None:
    """A command followed on production must not act on the sandbox."""
    assert screen.for_environment(words, "production") == told
