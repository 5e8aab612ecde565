"""On the way back green is stopped as far as it lets itself be, and what could not be done is told in the end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memorystore import MemoryStore
from road_fakes import begin, context, passed
from traffic_fakes import FakeBalancer, environment

from rollout import release
from rollout.errors import Failed, Refused
from rollout.road import command, serving
from rollout.road.context import Context


@pytest.fixture
def balancer() -> Iterator[FakeBalancer]:
    """A balancer with all traffic on blue."""
    fake = FakeBalancer()
    yield fake
    fake.close()


def rollback(balancer: FakeBalancer, folder: Path, **settings: Any) -> Context:
    """Return a worker's view of a rollback at work."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    return context(memory, environment(folder, balancer.address, **settings), folder, begin(memory, "rollback"))


def test_a_stop_that_fails_does_not_stop_the_rollback(balancer: FakeBalancer, tmp_path: Path) -> None:
    """The step succeeds and says why; the last step of the rollback fails with the host and the reason."""
    made = rollback(balancer, tmp_path, release_stop_command=["false"])
    assert "exited 1" in serving.stop_green(made, "app-green-1")["not_stopped"]
    with pytest.raises(Failed, match="schema and traffic are back; green could not be stopped on app-green-1: stop of"):
        serving.require_green_stopped(made, "localhost")


def test_a_stop_that_works_in_the_end_clears_it(balancer: FakeBalancer, tmp_path: Path) -> None:
    """A repeat that can stop the process leaves nothing to tell."""
    made = rollback(balancer, tmp_path, release_stop_command=["false"])
    serving.stop_green(made, "app-green-1")
    made.environment.settings.release_stop_command[:] = ["true"]
    serving.stop_green(made, "app-green-1")
    assert serving.require_green_stopped(made, "localhost")["changed"] is False


def test_a_session_that_hangs_is_cut(
    balancer: FakeBalancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After drain_timeout_seconds the stop command runs all the same; elsewhere it is refused."""
    monkeypatch.setattr(release, "_listens", lambda application: True)
    marker = tmp_path / "stopped"
    made = rollback(balancer, tmp_path, drain_timeout_seconds=0.2, release_stop_command=["touch", str(marker)])
    balancer.rows["green-1"]["scur"] = 1
    with pytest.raises(Refused, match="1 sessions"):
        serving.stop_release(made, "app-green-1")
    assert not marker.exists()
    assert serving.stop_green(made, "app-green-1")["left"] == 1
    assert marker.exists()


def test_a_process_that_is_gone_is_not_waited_for(balancer: FakeBalancer, tmp_path: Path) -> None:
    """Nobody listens: sessions that the balancer still counts are not drained."""
    made = rollback(balancer, tmp_path, drain_timeout_seconds=30)
    balancer.rows["green-1"]["scur"] = 1
    began = time.monotonic()
    assert serving.stop_green(made, "app-green-1")["not_stopped"] == ""
    assert time.monotonic() - began < 5


def test_the_verdict_crosses_the_playbook(tmp_path: Path) -> None:
    """The command raises what the step raised, its verdict included, whatever words the text has."""
    for error in (Refused("nothing seen", next="", verdict="inconclusive"), Refused("said inconclusive", next="")):
        (tmp_path / "failure.json").write_text(json.dumps({"step": "s", "host": "h", **error.to_dict()}))
        found = command._failure(tmp_path, 2)
        assert (type(found), found.verdict) == (Refused, error.verdict)
