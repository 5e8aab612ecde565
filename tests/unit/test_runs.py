"""Runs: which phase may follow which, who may write, and what a kill leaves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from memorystore import MemoryStore, as_store

from rollout import journal, lease, runs
from rollout.errors import BadInput, Failed, Fenced, Refused
from rollout.runs import RunState
from rollout.session import Session


@pytest.fixture
def memory() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


def begin(memory: MemoryStore, phase: str, plan: str = "plan-a", operator: str = "ana") -> Session:
    """Open a phase without a heartbeat."""
    return runs.open_phase(as_store(memory), "sandbox", phase, operator=operator, plan_digest=plan, lease_seconds=60)


def go(memory: MemoryStore, *phases: str, plan: str = "plan-a") -> RunState:
    """Run phases to the verdict pass, and return the state."""
    for phase in phases:
        begin(memory, phase, plan).passed(why="gate latency_p99" if phase == "rollback" else "")
    return state(memory)


def state(memory: MemoryStore) -> RunState:
    """Return the newest run."""
    found = runs.current(as_store(memory))
    assert found is not None
    return found


def interrupt(memory: MemoryStore, phase: str) -> str:
    """Begin a phase and leave it as Ctrl-C does; return the run."""
    with contextlib.suppress(KeyboardInterrupt), begin(memory, phase) as session:
        raise KeyboardInterrupt
    return session.run


@contextlib.contextmanager
def refused(kind: type[Exception], observed: str, following: str) -> Iterator[None]:
    """Expect a refusal that says what was observed and what to do next."""
    with pytest.raises(kind, match=observed) as caught:
        yield
    assert following in caught.value.next  # type: ignore[attr-defined]


def test_an_environment_without_a_run_is_none(memory: MemoryStore) -> None:
    """No run is None, not an error."""
    assert runs.current(as_store(memory)) is None


def test_the_whole_road_with_two_rollbacks(memory: MemoryStore) -> None:
    """1-2-rollback-2-rollback-2-3-finalize goes through in one run, each step with a higher token."""
    seen = []
    for phase in ("1", "2", "rollback", "2", "rollback", "2", "3", "finalize"):
        after = go(memory, phase)
        seen.append((after.run, after.token))
    assert [token for _, token in seen] == list(range(1, 9))
    assert len({run for run, _ in seen}) == 1
    assert after.finalized and after.no_return and after.phases["2"].attempts == 3
    assert journal.check(as_store(memory), after.run) == []


def test_the_token_survives_a_new_run(memory: MemoryStore) -> None:
    """A new run goes on counting, and names the run before it."""
    first = go(memory, "1", "2", "3", "finalize")
    second = go(memory, "1")
    assert second.run != first.run
    assert (second.previous, second.token) == (first.run, first.token + 1)
    assert runs.read(as_store(memory), first.run).finalized


@pytest.mark.parametrize(
    ("done", "phase", "kind", "observed", "following"),
    [
        ("", "2", BadInput, "no run has begun", "--phase 1"),
        ("", "rollback", BadInput, "no run has begun", "--phase 1"),
        ("1", "3", BadInput, "phase 2 of run .* has not passed", "--phase 2"),
        ("1", "finalize", BadInput, "phase 3 of run .* has not passed", "--phase 2"),
        ("1 2", "1", BadInput, "phase 2 of run .* has begun", "invoke rollback"),
        ("1 2", "2", BadInput, "phase 2 of run .* has passed already", "--phase 3"),
        ("1 2", "finalize", BadInput, "phase 3 of run .* has not passed", "--phase 3"),
        ("1 2 3", "1", BadInput, "phase 3 of run .* has begun", "invoke finalize"),
        ("1 2 3", "2", BadInput, "phase 2 of run .* has passed already", "invoke finalize"),
        ("1 2 3", "3", BadInput, "phase 3 of run .* has passed already", "invoke finalize"),
        ("1 2 rollback", "3", BadInput, "has not passed \\(rolled back at .*gate latency_p99", "--phase 2"),
        ("1 2 3 rollback", "finalize", BadInput, "phase 3 of run .* has not passed \\(rolled back", "--phase 2"),
        ("1 2 3 finalize", "rollback", Refused, "point of no return", "snapshot"),
        ("1 2 3 finalize", "2", BadInput, "is finalized", "--phase 1"),
        ("1 2 3 finalize", "finalize", BadInput, "is finalized", "--phase 1"),
        ("", "4", BadInput, "unknown phase '4'", "--phase 1"),
    ],
)
def test_out_of_order_is_refused(
    memory: MemoryStore, done: str, phase: str, kind: type[Exception], observed: str, following: str
) -> None:
    """A phase out of its place says why and what to do, and changes nothing."""
    if done:
        go(memory, *done.split())
    before = dict(memory.objects)
    with refused(kind, observed, following):
        begin(memory, phase)
    assert memory.objects == before


@pytest.mark.parametrize("done", ["1 2 rollback", "1"])
def test_phase_1_again_makes_a_new_run(memory: MemoryStore, done: str) -> None:
    """Phase 1 over again, or after a rollback, begins a new run and keeps the old."""
    first = go(memory, *done.split())
    assert go(memory, "1").previous == first.run


def test_an_interrupted_phase_1_goes_on(memory: MemoryStore) -> None:
    """Ctrl-C in phase 1 leaves it running and free; the same command takes it up in the same run."""
    run = interrupt(memory, "1")
    assert state(memory).phases["1"].verdict == "running" and state(memory).lease is None
    assert begin(memory, "1").run == run


def test_an_interrupted_phase_1_with_another_plan_is_a_new_run(memory: MemoryStore) -> None:
    """What was proven of the old plan does not count for the new one."""
    run = interrupt(memory, "1")
    assert begin(memory, "1", plan="plan-b").run != run


@pytest.mark.parametrize("phase", ["2", "3"])
def test_failed_phases_may_be_repeated(memory: MemoryStore, phase: str) -> None:
    """A phase that failed, was inconclusive or interrupted may be given again; its successor may not be."""
    go(memory, *["1", "2"][: int(phase) - 1])
    begin(memory, phase).failed("gate error_rate")
    begin(memory, phase).failed("no samples", verdict="inconclusive")
    following = {"2": "3", "3": "finalize"}[phase]
    with refused(BadInput, "inconclusive: no samples", f"--phase {phase}"):
        begin(memory, following)
    interrupt(memory, phase)
    assert go(memory, phase).phases[phase].attempts == 4  # type: ignore[index]


def test_an_interrupted_rollback_must_end_first(memory: MemoryStore) -> None:
    """After a rollback that was interrupted only a rollback is possible, and it passes."""
    go(memory, "1", "2")
    interrupt(memory, "rollback")
    for phase in ("1", "2", "3", "finalize"):
        with refused(BadInput, "rollback of run .* has not ended", "invoke rollback"):
            begin(memory, phase)
    session = begin(memory, "rollback")
    assert not session.nothing_to_take_back
    session.passed(why="on call")
    assert go(memory, "2").rolled_back is None


def test_a_rollback_of_nothing_passes_and_takes_nothing(memory: MemoryStore) -> None:
    """Before phase 2, or for a second time, there is nothing to take back: it passes, and phase 1 stays as it was."""
    interrupt(memory, "1")
    session = begin(memory, "rollback")
    assert session.nothing_to_take_back
    session.passed()
    assert state(memory).rolled_back is None and state(memory).phases["1"].verdict == "running"
    run = go(memory, "1", "2", "rollback").run
    first = state(memory).rolled_back
    assert begin(memory, "rollback").nothing_to_take_back
    memory.advance(120)
    assert (state(memory).run, state(memory).rolled_back) == (run, first)


def test_no_rollback_once_contract_began(memory: MemoryStore) -> None:
    """A finalize that was interrupted after its first drop can only be finished."""
    go(memory, "1", "2", "3")
    begin(memory, "finalize").release()
    assert go(memory, "rollback").rolled_back
    go(memory, "2", "3")
    session = begin(memory, "finalize")
    session.point_of_no_return()
    session.release()
    with refused(Refused, "point of no return", "snapshot"):
        begin(memory, "rollback")
    with refused(BadInput, "finalize of run .* has begun", "invoke finalize"):
        begin(memory, "1")
    assert go(memory, "finalize").finalized


@pytest.mark.parametrize(("done", "phase"), [("1", "2"), ("1 2", "3"), ("1 2 3", "finalize"), ("1 2 rollback", "2")])
def test_a_changed_plan_stops_the_way_forward(memory: MemoryStore, done: str, phase: str) -> None:
    """What phase 1 did not prove is not run."""
    go(memory, *done.split())
    with refused(BadInput, "the plan changed since phase 1", "--phase 1"):
        begin(memory, phase, plan="plan-b")


def test_a_changed_plan_does_not_stop_a_rollback(memory: MemoryStore) -> None:
    """The way back stays open, and the journal says that the plan was another."""
    run = go(memory, "1", "2").run
    go(memory, "rollback", plan="plan-b")
    events = {event.kind: event.facts for event in journal.read(as_store(memory), run)}
    assert events["plan_changed"] == {"before": "plan-a", "now": "plan-b", "phase": "rollback"}


def test_a_living_holder_is_not_disturbed(memory: MemoryStore) -> None:
    """A lease held by a living process of this machine refuses everybody until it has run out by the store's clock."""
    session = begin(memory, "1", operator="ana")
    with refused(Refused, "invoke deploy --phase 1 of ana is at work on .*since 03:12:00 UTC", "Ctrl-C"):
        begin(memory, "rollback")
    memory.advance(50)
    session.renew()
    memory.advance(50)
    with pytest.raises(Refused):
        begin(memory, "1")
    memory.advance(12)
    assert begin(memory, "1").token == session.token + 1
    for act in (session.renew, session.state, lambda: session.set_fact("a", 1), session.passed):
        with pytest.raises(Fenced):
            act()
    with pytest.raises(Fenced):
        session.check()


def test_a_holder_elsewhere_is_believed_until_its_lease_ends(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of another machine cannot be looked up: only the clock takes its lease."""
    monkeypatch.setattr(lease, "_is_alive", lambda pid, started: False)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease, "machine", lambda: "another")
        begin(memory, "1")
    with pytest.raises(Refused):
        begin(memory, "1")
    memory.advance(62)
    assert begin(memory, "1").token == 2


@pytest.mark.parametrize("key", ["current.json", "state.json", "00000001.json", "journal-head.json"])
@pytest.mark.parametrize("phase", ["1", "2"])
def test_a_kill_before_any_write_leaves_the_way_open(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch, key: str, phase: str
) -> None:
    """Killed before any of the writes that open a phase, the same command goes on in the same run."""
    if phase == "2":
        go(memory, "1")
    memory.die_before = key if phase == "1" else key.replace("1.json", "3.json")
    # A kill releases nothing, so the lease must be found dead.
    monkeypatch.setattr(Session, "release", lambda self: None)
    with pytest.raises(KeyboardInterrupt):
        begin(memory, phase)
    monkeypatch.undo()
    monkeypatch.setattr(lease, "_is_alive", lambda pid, started: False)
    before = runs.current(as_store(memory))
    after = go(memory, phase)
    assert before is None or after.run == before.run
    assert len([k for k in memory.objects if k.endswith("state.json")]) == 1
    assert journal.check(as_store(memory), after.run) == []


def test_a_worker_records_but_gives_no_verdict(memory: MemoryStore) -> None:
    """A worker writes facts of the run and of its phase; verdict and lease are not its own; a wrong token is fenced."""
    session = begin(memory, "1")
    worker = runs.attach(as_store(memory), session.run, session.token)
    worker.set_fact("snapshots", ["a", 1, None])
    worker.record({"restore_seconds": 1.5})
    with pytest.raises(Failed, match="a worker cannot give a verdict"):
        worker.passed()
    with pytest.raises(Fenced):
        runs.attach(as_store(memory), session.run, session.token - 1)
    session.passed({"tiers": 4})
    after = state(memory)
    assert after.facts == {"snapshots": ["a", 1, None]}
    assert after.phases["1"].facts == {"restore_seconds": 1.5, "tiers": 4}


def test_a_worker_of_an_older_run_is_shut_out(memory: MemoryStore) -> None:
    """When a new run has begun, a worker that was left over from the one before is told so."""
    session = begin(memory, "1")
    worker = runs.attach(as_store(memory), session.run, session.token)
    worker.check()
    session.failed("no disk")
    assert begin(memory, "1").run != session.run
    with pytest.raises(Fenced):
        worker.check()


def test_a_fact_that_is_no_json_is_refused(memory: MemoryStore) -> None:
    """What could not be read again is not written."""
    session = begin(memory, "1")
    with pytest.raises(TypeError):
        session.set_fact("path", object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON compliant"):
        session.record({"latency": float("nan")})
    assert state(memory).facts == {}


def test_an_error_in_the_block_is_the_verdict(memory: MemoryStore) -> None:
    """A RolloutError fails the phase in its words and still reaches the caller."""
    with pytest.raises(Refused, match="stall budget"), begin(memory, "1"):
        raise Refused("the stall budget is spent", next="wait")
    after = state(memory)
    assert (after.phases["1"].verdict, after.phases["1"].why) == ("fail", "the stall budget is spent")
    assert after.lease is None


def test_another_environments_prefix_is_refused(memory: MemoryStore) -> None:
    """Two environments in one prefix would share a token; the second one is turned away."""
    go(memory, "1")
    with refused(BadInput, "belongs to environment 'sandbox'", "prefix"):
        runs.open_phase(as_store(memory), "staging", "1", operator="o", plan_digest="p", lease_seconds=60)


def test_an_unknown_field_is_not_guessed_at(memory: MemoryStore) -> None:
    """A state of another version of the program is an error that names the field."""
    run = go(memory, "1").run
    body, etag = memory.read(f"runs/{run}/state.json")
    memory.replace(f"runs/{run}/state.json", json.dumps(json.loads(body) | {"novel": 1}).encode(), etag)
    with pytest.raises(Failed, match="novel"):
        runs.current(as_store(memory))
