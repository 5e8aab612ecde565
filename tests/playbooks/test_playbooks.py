"""What every playbook keeps: sentences, no swallowed errors, no loop that goes on behind a refusal, only known steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import rollout.road.steps  # noqa: F401  (they register themselves)
from rollout.road.context import REGISTER, Context
from rollout.road.shifting import shift_steps

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
BANNED = ("ignore_errors", "ignore_unreachable", "failed_when")


def plays(path: Path) -> list[dict[str, Any]]:
    """Return the plays of a playbook."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda p: p.name)
def test_errors_end_the_play(path: Path) -> None:
    """Every play stops at the first error on any host, and no task hides one."""
    for play in plays(path):
        assert play["any_errors_fatal"] is True, play["name"]
        for task in play["tasks"]:
            assert not [word for word in BANNED if word in task], task["name"]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda p: p.name)
def test_no_step_is_looped(path: Path) -> None:
    """Ansible runs every item of a loop, also behind a failed one: a refused gate would be followed by more traffic."""
    for play in plays(path):
        for task in play["tasks"]:
            assert not ("rollout_step" in task and any(key == "loop" or key.startswith("with_") for key in task)), task["name"]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda p: p.name)
def test_every_step_is_known(path: Path) -> None:
    """A misspelt step is found here, not in the middle of a run."""
    steps = [t["rollout_step"]["do"] for play in plays(path) for t in play["tasks"] if "rollout_step" in t]
    assert steps
    assert set(steps) <= set(REGISTER)


def test_shares_end_at_the_first_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a share whose gates refuse, no further share is given."""
    asked: list[int] = []

    def shift(context: object, host: str, percent: int, *, passed: bool) -> dict[str, Any]:
        asked.append(percent)
        if percent == 25:
            raise RuntimeError("refused")
        return {"say": ""}

    class Screen:
        def say(self, **said: object) -> None:
            """Show nothing."""

    class Settings:
        traffic_steps_percent = (10, 25, 50)

    class Environment:
        settings = Settings()

    context = Context.__new__(Context)
    context.environment = Environment()  # type: ignore[assignment]
    context.progress = Screen()  # type: ignore[assignment]
    monkeypatch.setattr("rollout.road.shifting.shift", shift)
    with pytest.raises(RuntimeError):
        shift_steps(context, "lb-1")
    assert asked == [10, 25]
