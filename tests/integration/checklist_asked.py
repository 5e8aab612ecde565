"""A question to the probes about a window, for tests that have servers but no run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rollout.checklist import declared, judging, measuring
from rollout.checklist.probe import Asked
from rollout.environment import Environment
from rollout.order import PHASES, PhaseState, RunState


def judged(environment: Environment, since: float, until: float, *names: str) -> dict[str, dict[str, Any]]:
    """Return the named items as the checklist shows them, from windows and states of these servers alone."""
    found = declared.load()
    state = RunState(
        run="2026-01-31T0400Z-1a2b", environment=environment.name, plan_digest="", created=datetime.now(UTC), operator="test",
        phases={name: PhaseState() for name in PHASES},
    )  # fmt: skip
    asked = Asked(environment, None, state, found, since, until)  # type: ignore[arg-type]
    seen = measuring.each(asked, [found.find(name) for name in names], ("window", "state"))
    return {name: judging.judge(found.find(name), seen[name], None) for name in names}
