"""Runs of an environment in its object store: the state of each, and the session that may change it.

    runs/current.json        which run is the newest, its fencing token, and the lease: one object, so that who may
                             act is decided by a single conditional write
    runs/<run>/state.json    what came of the phases; every write re-reads it and compares the token

A session raises the token before it does anything, which shuts out whoever held an older one, alive or not. The lease
is renewed in `current.json`, so its heartbeat does not race with the workers that record facts in `state.json`.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from rollout import journal, lease, order
from rollout.errors import BadInput, Failed, Fenced, Refused
from rollout.lease import Lease
from rollout.objectstore import AlreadyExists, Conflict, ObjectStore
from rollout.order import PHASES, PhaseName, PhaseState, RunState
from rollout.runfiles import CURRENT, Current, parse, read_current, read_state, state_key
from rollout.session import Session

WRITE_DEADLINE_SECONDS = 30

__all__ = ["RunState", "Session", "attach", "current", "open_phase", "read"]


def current(store: ObjectStore) -> RunState | None:
    """Return the newest run of the environment with the lease on it, or None when there was never one."""
    found = read_current(store)
    return None if found is None else _with_lease(read_state(store, found[0])[0], found[0])


def read(store: ObjectStore, run: str) -> RunState:
    """Return the state of a run by its id; raise NotFound."""
    return parse(RunState, store.read(state_key(run))[0], state_key(run))


def open_phase(
    store: ObjectStore,
    environment_name: str,
    phase: str,
    *,
    operator: str,
    plan_digest: str,
    lease_seconds: float,
    mirror: Path | None = None,
) -> Session:
    """Take the lease, raise the fencing token by one, mark the phase running, and return the session that does it.

    `mirror`: folder in which `<run>/journal.jsonl` is kept for people. Raise BadInput when the phase is not in its
    place, Refused when another holds the lease or the point of no return is passed, Failed when the store fails.
    """
    name = _phase(phase)
    for attempt in _contended():
        with attempt:
            asked = time.monotonic()
            found = read_current(store)
            now = store.now()
            state = read_state(store, found[0])[0] if found else None
            _check_free(found[0] if found else None, environment_name, now)
            decision = order.decide(state, name, plan_digest)
            mine = lease.take(now, operator=operator, phase=name, seconds=lease_seconds)
            token = found[0].token + 1 if found else 1
            if decision == "same" and found:
                target = found[0].model_copy(update={"token": token, "lease": mine})
            else:
                target = Current(
                    environment=environment_name,
                    run=_new_id(store, now),
                    plan_digest=plan_digest,
                    created=now,
                    operator=operator,
                    previous=found[0].run if found else None,
                    token=token,
                    lease=mine,
                )
            body = target.model_dump_json(indent=1).encode()
            if found:
                store.replace(CURRENT, body, found[1])
            else:
                store.create(CURRENT, body)
    session = Session(
        store=store,
        run=target.run,
        token=token,
        phase=name,
        journal=journal.Journal(store, target.run, token=token, operator=operator, mirror=mirror),
        lease_seconds=lease_seconds,
        reread=lambda: _reread(store, target.run, token),
        update=lambda change: _update(store, target.run, token, change, raise_token=False),
        asked=asked,
        change_lease=lambda change: _change_lease(store, target.run, token, change),
    )
    try:
        before = _begin(store, target, name)
        session.begin(took_over=found[0].lease if found else None, plan_before=before.plan_digest, plan_now=plan_digest)
    except BaseException:
        with contextlib.suppress(Failed, Refused):
            session.release()
        raise
    return session


def attach(store: ObjectStore, run: str, token: int, *, operator: str = "", mirror: Path | None = None) -> Session:
    """Return a session for a worker of the command that holds the lease: it records facts and events, no verdicts.

    Raise Fenced when `token` is not the run's token, at once and at every later write.
    """
    state = _reread(store, run, token)
    running = [p for p in PHASES if state.phases[p].verdict == "running"]
    return Session(
        store=store,
        run=run,
        token=token,
        phase=running[-1] if running else None,
        journal=journal.Journal(store, run, token=token, operator=operator or state.operator, mirror=mirror),
        lease_seconds=None,
        reread=lambda: _reread(store, run, token),
        update=lambda change: _update(store, run, token, change, raise_token=False),
        change_lease=None,
    )


def _reread(store: ObjectStore, run: str, token: int) -> RunState:
    """Read the state, unless another session, of this run or of a newer one, has made the token void."""
    found = read_current(store)
    if found and (found[0].run, found[0].token) != (run, token):
        raise _fenced(found[0].token, token, found[0].lease)
    state = read(store, run)
    _check_token(state, token)
    return state


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

    _update(store, target.run, target.token, change, raise_token=True)
    return before[0]


def _update(
    store: ObjectStore, run: str, token: int, change: Callable[[RunState], None], *, raise_token: bool
) -> RunState:
    """Apply `change` to the state under compare-and-swap and return what was written; `change` may run repeatedly."""
    for attempt in _contended():
        with attempt:
            found = read_current(store) if raise_token else None
            etag: str | None
            if found and found[0].run == run:
                state, etag = read_state(store, found[0])
            else:
                body, etag = store.read(state_key(run))
                state = parse(RunState, body, state_key(run))
            if raise_token and state.token < token:
                state.token = token
            _check_token(state, token)
            change(state)
            written = RunState.model_validate(state.model_dump()).model_dump_json(indent=1, exclude={"lease"}).encode()
            if etag is None:
                store.create(state_key(run), written)
            else:
                store.replace(state_key(run), written, etag)
    return state


def _change_lease(store: ObjectStore, run: str, token: int, change: Callable[[Lease, datetime], Lease | None]) -> None:
    """Renew or release the lease of this token; raise Fenced when another has taken it."""
    for attempt in _contended():
        with attempt:
            found = read_current(store)
            if found is None or found[0].run != run or found[0].token != token or found[0].lease is None:
                raise _fenced(found[0].token if found else 0, token, found[0].lease if found else None)
            found[0].lease = change(found[0].lease, store.now())
            store.replace(CURRENT, found[0].model_dump_json(indent=1).encode(), found[1])


def _contended() -> Iterator[contextlib.AbstractContextManager[object]]:
    """Retry what lost a conditional write, with jitter, for 30 s; then raise Failed."""
    retrying = Retrying(
        retry=retry_if_exception_type((Conflict, AlreadyExists)),
        stop=stop_after_delay(WRITE_DEADLINE_SECONDS),
        wait=wait_random_exponential(multiplier=0.02, max=1),
    )
    try:
        yield from retrying
    except RetryError:
        raise Failed(
            "the run's state could not be written: other writers were always first",
            limit=f"{WRITE_DEADLINE_SECONDS} s",
            next="give the same command again",
        ) from None


def _with_lease(state: RunState, found: Current) -> RunState:
    return state.model_copy(update={"lease": found.lease})


def _check_free(found: Current | None, environment_name: str, now: datetime) -> None:
    if found is None:
        return
    if found.environment != environment_name:
        raise BadInput(
            f"this part of the object store belongs to environment {found.environment!r}, not {environment_name!r}",
            next=f"give {environment_name} an object_store.prefix of its own in its inventory",
        )
    if found.lease is not None and not found.lease.is_free(now):
        held = found.lease
        raise Refused(
            f"{order.COMMANDS[_phase(held.phase)]} of {held.operator} is at work on {held.host} (pid {held.pid}) "
            f"since {held.since:%H:%M:%S} UTC",
            limit=f"one at a time; its lease runs until {held.expires:%H:%M:%S} UTC and is renewed while it lives",
            next=f"let it end, or end it there with Ctrl-C; if its host is gone, wait {held.seconds:.0f} s and repeat",
            page="runbooks/deploy.md#lease",
        )


def _check_token(state: RunState, token: int) -> None:
    if state.token != token:
        raise _fenced(state.token, token, state.lease)


def _fenced(found: int, token: int, holder: Lease | None) -> Fenced:
    who = f" by {holder.operator} on {holder.host} (pid {holder.pid})" if holder and found != token else ""
    return Fenced(
        f"this command's fencing token {token} is void: the environment was taken over{who}",
        limit=f"token {found}",
        next="invoke status",
        page="runbooks/deploy.md#lease",
    )


def _phase(phase: str) -> PhaseName:
    for known in PHASES:
        if phase == known:
            return known
    raise BadInput(f"unknown phase {phase!r}", limit=f"one of {', '.join(PHASES)}", next="invoke deploy --phase 1")


def _new_id(store: ObjectStore, now: datetime) -> str:
    while True:
        run = f"{now:%Y-%m-%dT%H%MZ}-{secrets.token_hex(2)}"
        if not store.exists(state_key(run)):
            return run
