"""A step's context over a store in memory, and runs that stand at a phase; for tests of the road's own logic only."""

from __future__ import annotations

from pathlib import Path

from memorystore import MemoryStore, as_store

from rollout import environment as environments
from rollout import runs
from rollout.environment import Environment
from rollout.road.context import Context, Request
from rollout.session import Session


def begin(memory: MemoryStore, phase: str) -> Session:
    """Begin a phase and leave it at work, without a heartbeat."""
    return runs.open_phase(
        as_store(memory), "sandbox", phase, operator="ana", plan_digest="plan-a", lease_seconds=60
    )


def passed(memory: MemoryStore, *phases: str) -> None:
    """Let phases begin and pass."""
    for phase in phases:
        begin(memory, phase).passed()


def context(memory: MemoryStore, env: Environment, folder: Path, session: Session) -> Context:
    """Return what a worker of the command that holds `session` sees."""
    environments.save(env, folder / "environment.json")
    request = Request(str(folder / "environment.json"), session.run, session.token, "ana", str(folder))
    made = Context(request)
    made.__dict__["store"] = as_store(memory)  # in place of the cached property
    return made
