"""Runs of an environment in its object store: the state of each, and the session that may change it.

    runs/current.json        which run is the newest, its fencing token, and the lease: one object, so that who may
                             act is decided by a single conditional write
    runs/<run>/state.json    what came of the phases; every write re-reads it and compares the token

A session raises the token before it does anything, which shuts out whoever held an older one, alive or not. The lease
is renewed in `current.json`, so its heartbeat does not race with the workers that record facts in `state.json`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from rollout import claims, journal, order
from rollout.claims import read
from rollout.errors import BadInput, Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.order import PHASES, PhaseName, PhaseState, RunState
from rollout.runfiles import Current, read_current, read_state
from rollout.session import Session

__all__ = ["RunState", "Session", "attach", "current", "open_act", "open_phase", "read"]


def current(store: ObjectStore) -> RunState | None:
    """Return the newest run of the environment with the lease on it, or None when there was never one."""
    found = read_current(store)
    return None if found is None else _with_lease(read_state(store, found[0])[0], found[0])


def open_phase(
    store: ObjectStore,
    environment_name: str,
    phase: str,
    *,
    operator: str,
    plan_digest: str,
    lease_seconds: float,
    mirror: Path | None = None,
    to_snapshot: bool = False,
) -> Session:
    """Take the lease, raise the fencing token by one, mark the phase running, and return the session that does it.

    `mirror`: folder in which `<run>/journal.jsonl` is kept for people; `to_snapshot` as order.decide has it. Raise
    BadInput when the phase is not in its place, Refused when another holds the lease or the point of no return is passed,
    Failed when the store fails.
    """
    name = _phase(phase)
    asked = time.monotonic()
    found, target = claims.claim(
        store, environment_name, name, lambda state: order.decide(state, name, plan_digest, to_snapshot=to_snapshot),
        operator=operator, plan_digest=plan_digest, lease_seconds=lease_seconds,
    )  # fmt: skip
    session = claims.session(store, target, name, asked=asked, operator=operator, lease_seconds=lease_seconds, mirror=mirror)
    try:
        before = _begin(store, target, name)
        session.begin(took_over=found.lease if found else None, plan_before=before.plan_digest, plan_now=plan_digest)
    except BaseException:
        with contextlib.suppress(Failed, Refused):
            session.release()
        raise
    return session


def open_act(
    store: ObjectStore,
    environment_name: str,
    act: str,
    *,
    operator: str,
    lease_seconds: float,
    mirror: Path | None = None,
    change: Callable[[RunState], None],
    facts: Mapping[str, JsonValue],
    allow: Callable[[RunState | None], None] = order.allow,
) -> Session:
    """Take the lease of the newest run for an act that is no phase, raise its token, and return the session that does it.

    `act`: one of order.ACTS; `change` marks in the state what the act makes void; `facts` are journaled with its beginning;
    `allow` refuses it where it has no place. Raises as `open_phase` does.
    """

    def decide(state: RunState | None) -> Literal["same"]:
        allow(state)
        return "same"

    asked = time.monotonic()
    found, target = claims.claim(
        store, environment_name, act, decide, operator=operator, plan_digest="", lease_seconds=lease_seconds
    )
    session = claims.session(store, target, None, asked=asked, operator=operator, lease_seconds=lease_seconds, mirror=mirror)
    try:
        claims.update(store, target.run, target.token, change, raise_token=True)
        if found and found.lease:
            session.journal.append("lease_taken_over", **found.lease.model_dump(mode="json"))
        session.journal.append("act_started", act=act, **facts)
    except BaseException:
        with contextlib.suppress(Failed, Refused):
            session.release()
        raise
    return session


def attach(store: ObjectStore, run: str, token: int, *, operator: str = "", mirror: Path | None = None) -> Session:
    """Return a session for a worker of the command that holds the lease: it records facts and events, no verdicts.

    Raise Fenced when `token` is not the run's token, at once and at every later write.
    """
    state = claims.reread(store, run, token)
    running = [p for p in PHASES if state.phases[p].verdict == "running"]
    return Session(
        store=store,
        run=run,
        token=token,
        phase=running[-1] if running else None,
        journal=journal.Journal(store, run, token=token, operator=operator or state.operator, mirror=mirror),
        lease_seconds=None,
        reread=lambda: claims.reread(store, run, token),
        update=lambda change: claims.update(store, run, token, change, raise_token=False),
        change_lease=None,
    )


def _begin(store: ObjectStore, target: Current, phase: PhaseName) -> RunState:
    """Raise the run's token and mark the phase running; return the state as it was before."""
    before: list[RunState] = []

    def change(state: RunState) -> None:
        before[:] = [state.model_copy(deep=True)]
        order.begin(state, phase)
        found = state.phases[phase]
        # Of the phases only this one can be at work; another that says running was interrupted and keeps saying so.
        state.phases[phase] = PhaseState(
            verdict="running", attempts=found.attempts + 1, started=datetime.now(UTC), facts=found.facts
        )

    claims.update(store, target.run, target.token, change, raise_token=True)
    return before[0]


def _with_lease(state: RunState, found: Current) -> RunState:
    return state.model_copy(update={"lease": found.lease})


def _phase(phase: str) -> PhaseName:
    for known in PHASES:
        if phase == known:
            return known
    raise BadInput(f"unknown phase {phase!r}", limit=f"one of {', '.join(PHASES)}", next="invoke deploy --phase 1")
