"""Traffic goes back to blue whatever ends a shift early, is shifted only under a good token, and never skips a gate."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from memorystore import MemoryStore
from road_fakes import begin, context, passed
from traffic_fakes import FakeBalancer, environment

from rollout import gates
from rollout.environment import Environment
from rollout.errors import Failed, Fenced, Refused
from rollout.gates import Value, Verdict
from rollout.road import shifting
from rollout.road.context import Context
from rollout.session import Session


@pytest.fixture
def balancer() -> Iterator[FakeBalancer]:
    """A balancer with all traffic on blue."""
    fake = FakeBalancer()
    yield fake
    fake.close()


class Road:
    """A run at phase 2, and gates that do what a test wants; `asked` counts how often they were."""

    def __init__(self, balancer: FakeBalancer, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.balancer, self.memory, self.folder, self.asked = balancer, MemoryStore(), folder, 0
        self.env: Environment = environment(folder, balancer.address)
        self.answer: Callable[[], Value] = lambda: "pass"
        passed(self.memory, "1")
        self.session: Session = begin(self.memory, "2")
        for name in ("evaluate", "watch"):
            patch.setattr(gates, name, self._evaluate)

    def _evaluate(self, *words: Any, **options: Any) -> list[Verdict]:
        self.asked += 1
        return [Verdict("error_rate", self.answer(), "seen", "limit", "page")]

    @property
    def context(self) -> Context:
        return context(self.memory, self.env, self.folder, self.session)

    @property
    def green(self) -> int:
        return sum(self.balancer.rows[n]["weight"] for n in ("green-1", "green-2"))


@pytest.fixture
def road(balancer: FakeBalancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """A run in phase 2."""
    return Road(balancer, tmp_path, monkeypatch)


def raises(error: BaseException) -> Callable[[], Value]:
    """Return gates that raise."""

    def answer() -> Value:
        raise error

    return answer


@pytest.mark.parametrize("percent", [10, 50, 100])
@pytest.mark.parametrize("error", [OSError("no store"), KeyboardInterrupt(), SystemExit(1), Failed("lost", next="")])
def test_whatever_is_raised_after_a_shift_gives_the_traffic_back(
    road: Road, error: BaseException, percent: int
) -> None:
    """Blue has everything again before the error goes on."""
    road.answer = raises(error)
    with pytest.raises(type(error)):
        shifting.shift(road.context, "lb-1", percent)
    assert (road.asked, road.green) == (1, 0)


def test_a_journal_that_cannot_be_written_gives_the_traffic_back(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing after the shift fails: green does not keep its share unseen."""

    def journal(self: Context, kind: str, **facts: Any) -> None:
        assert road.green > 0
        raise Failed("the store is away", next="")

    monkeypatch.setattr(Context, "journal", journal)
    with pytest.raises(Failed, match="store is away"):
        shifting.shift(road.context, "lb-1", 25)
    assert (road.asked, road.green) == (0, 0)


def test_the_watch_gives_the_traffic_back(road: Road) -> None:
    """At 100 % an error of the watch takes green's traffic, as a gate does."""
    shifting.shift(road.context, "lb-1", 100)
    assert road.green > 0
    road.answer = raises(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        shifting.watch(road.context, "lb-1")
    assert road.green == 0


def test_a_signal_gives_the_traffic_back(road: Road) -> None:
    """SIGTERM, and a second one while blue gets its traffic, end a worker only once blue has it."""

    def terminate() -> Value:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    before = signal.getsignal(signal.SIGTERM)
    road.answer = terminate
    with pytest.raises(KeyboardInterrupt):
        shifting.shift(road.context, "lb-1", 25)
    assert road.green == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_traffic_that_cannot_go_back_is_told_with_its_cause(road: Road) -> None:
    """When the balancer ignores it, both are in the error."""

    def stuck() -> Value:
        road.balancer.mute = {"green-1", "green-2"}
        raise OSError("no log")

    road.answer = stuck
    with pytest.raises(Failed, match=r"no log; and blue did not get its traffic back: .*green-1 was given weight 0"):
        shifting.shift(road.context, "lb-1", 25)


def test_a_void_token_shifts_nothing(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose command was replaced sends the balancer no change, before the shift or after it."""
    old = road.context
    assert old.session.token == road.session.token
    road.session.release()
    begun = lambda context: {"taken over by": setattr(road, "session", begin(road.memory, "2"))}
    monkeypatch.setattr(shifting, "_begun", begun)  # as late as can be: the last act before the shift
    with pytest.raises(Fenced):
        shifting.shift(old, "lb-1", 10)
    assert not road.balancer.changes()
    monkeypatch.undo()
    monkeypatch.setattr(gates, "evaluate", road._evaluate)
    road.answer = raises(Fenced("another took over", next=""))
    with pytest.raises(Fenced):
        shifting.shift(road.context, "lb-1", 10)
    assert road.green > 0


def test_a_gate_that_does_not_pass_carries_its_verdict(road: Road) -> None:
    """Inconclusive and fail are told apart by the error's verdict, and the traffic is back."""
    for value in ("inconclusive", "fail"):
        road.answer = lambda value=value: value  # type: ignore[misc]
        with pytest.raises(Refused) as caught:
            shifting.shift(road.context, "lb-1", 10)
        assert (caught.value.verdict, road.green) == (value, 0)


def test_a_share_set_by_hand_is_not_skipped(road: Road) -> None:
    """Green at 60 % that nobody gated: every share of the phase is shifted to and asked about."""
    for name, weight in (("blue-1", 40), ("blue-2", 40), ("green-1", 60), ("green-2", 60)):
        road.balancer.rows[name]["weight"] = weight
    for percent in (10, 25, 50):
        shifting.shift(road.context, "lb-1", percent)
    assert road.asked == 3


def test_a_share_that_passed_is_skipped_but_the_last(road: Road) -> None:
    """Given again, a phase asks about its last share only; on the way to 100 % it asks about none that passed."""
    for percent in (10, 25, 50):
        shifting.shift(road.context, "lb-1", percent)
    assert [shifting.shift(road.context, "lb-1", p)["changed"] for p in (10, 25)] == [False, False]
    assert road.asked == 3
    shifting.shift(road.context, "lb-1", 50)
    assert road.asked == 4
    shifting.shift(road.context, "lb-1", 50, passed=True)
    assert road.asked == 4


def test_a_rollback_makes_passes_void(road: Road) -> None:
    """What passed before the traffic went back is asked about again, also when green has more by hand."""
    shifting.shift(road.context, "lb-1", 10)
    road.session.release()
    back = begin(road.memory, "rollback")
    back.set_fact("traffic_back", {"token": back.token})
    back.passed()
    road.session = begin(road.memory, "2")
    shifting.shift(road.context, "lb-1", 10)
    assert road.asked == 2


def test_the_replicas_of_the_first_share_are_kept(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that dies between two shares of a command is still missed."""
    monkeypatch.setattr(gates, "start", lambda env: {"replicas": {"pg-oltp-1": ["r1", "r2"]}})
    assert shifting._begun(road.context)["replicas"] == {"pg-oltp-1": ["r1", "r2"]}
    monkeypatch.setattr(gates, "start", lambda env: {"replicas": {"pg-oltp-1": ["r1"]}})
    assert shifting._begun(road.context)["replicas"] == {"pg-oltp-1": ["r1", "r2"]}
