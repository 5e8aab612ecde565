"""A release is not touched while it has traffic, and its commands run bounded, logged, filled in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from traffic_fakes import FakeBalancer, environment

from rollout import release
from rollout.errors import Failed, Refused


@pytest.fixture
def balancer() -> Iterator[FakeBalancer]:
    fake = FakeBalancer()
    yield fake
    fake.close()


def test_stop_with_traffic_is_refused(balancer: FakeBalancer, tmp_path: Path) -> None:
    """A server with weight is neither drained nor stopped."""
    marker = tmp_path / "stopped"
    env = environment(tmp_path, balancer.address, release_stop_command=["touch", str(marker)])
    with pytest.raises(Refused, match="weight 100"):
        release.stop(env, env.colour("blue")[0])
    assert not marker.exists() and not balancer.changes()
    release.stop(env, env.colour("green")[0])
    assert marker.exists() and balancer.rows["green-1"]["admin"] == 8


def test_open_sessions_refuse(balancer: FakeBalancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that outlives drain_timeout_seconds keeps the process alive."""
    monkeypatch.setattr(release, "_listens", lambda application: True)
    marker = tmp_path / "stopped"
    env = environment(
        tmp_path, balancer.address, drain_timeout_seconds=0.2, release_stop_command=["touch", str(marker)]
    )
    balancer.rows["green-1"]["scur"] = 1
    with pytest.raises(Refused, match="1 sessions"):
        release.stop(env, env.colour("green")[0])
    assert not marker.exists()


def test_commands_are_filled_in_and_logged(balancer: FakeBalancer, tmp_path: Path) -> None:
    """Placeholders are filled, and what the command printed is in the host's log."""
    command = ["{python}", "-c", "import sys; print(*sys.argv[1:])", "{host}", "{release}", "{release_dir}"]
    env = environment(tmp_path, balancer.address, release_stop_command=command)
    application = env.colour("green")[1]
    release.stop(env, application)
    assert (
        f"{application.host} v2 {application.release_dir}"
        in (Path(env.artifacts) / "releases" / f"{application.host}.log").read_text()
    )


def test_hanging_and_missing_commands_fail(
    balancer: FakeBalancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command past its deadline is ended and told with its last line; one that does not exist names its setting."""
    monkeypatch.setattr(release, "COMMAND_SECONDS", 0.5)
    hang = [sys.executable, "-uc", "import time; print('waiting for the moon'); time.sleep(60)"]
    env = environment(tmp_path, balancer.address, release_build_command=hang)
    with pytest.raises(Failed, match="did not end: waiting for the moon"):
        release.deploy(env, env.colour("green")[0], "v2")
    env = environment(tmp_path, balancer.address, release_build_command=["/nonexistent/npm"])
    with pytest.raises(Failed) as caught:
        release.deploy(env, env.colour("green")[0], "v2")
    assert "release_build_command" in caught.value.next


def test_a_process_that_never_gets_ready_fails(
    balancer: FakeBalancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A started release that does not answer is not given back to the balancer."""
    monkeypatch.setattr(release, "READY_SECONDS", 0.3)
    env = environment(tmp_path, balancer.address)
    with pytest.raises(Failed, match="not ready with v2"):
        release.deploy(env, env.colour("green")[0], "v2")
    assert balancer.rows["green-1"]["admin"] == 8
