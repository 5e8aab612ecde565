"""Claims on a run: the lease and the fencing token, taken in one conditional write, and writes that compare the token."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from rollout import journal, lease, order
from rollout.errors import BadInput, Failed, Fenced, Refused
from rollout.lease import Lease
from rollout.objectstore import AlreadyExists, Conflict, ObjectStore
from rollout.order import PhaseName, RunState
from rollout.runfiles import CURRENT, Current, parse, read_current, read_state, state_key
from rollout.session import Session

WRITE_DEADLINE_SECONDS = 30


def read(store: ObjectStore, run: str) -> RunState:
    """Return the state of a run by its id; raise NotFound."""
    return parse(RunState, store.read(state_key(run))[0], state_key(run))


def claim(
    store: ObjectStore,
    environment_name: str,
    work: str,
    decide: Callable[[RunState | None], Literal["new", "same"]],
    *,
    operator: str,
    plan_digest: str,
    lease_seconds: float,
) -> tuple[Current | None, Current]:
    """Write the lease and a token higher by one in one conditional write; return what was there and what is now."""
    for attempt in _contended():
        with attempt:
            found = read_current(store)
            now = store.now()
            state = read_state(store, found[0])[0] if found else None
            _check_free(found[0] if found else None, environment_name, now)
            decision = decide(state)
            mine = lease.take(now, operator=operator, phase=work, seconds=lease_seconds)
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
    return found[0] if found else None, target


def session(
    store: ObjectStore,
    target: Current,
    phase: PhaseName | None,
    *,
    asked: float,
    operator: str,
    lease_seconds: float,
    mirror: Path | None,
) -> Session:
    """Return the session of whoever made a claim; `asked`: the monotonic second before the store was asked for it."""
    run, token = target.run, target.token
    return Session(
        store=store,
        run=run,
        token=token,
        phase=phase,
        journal=journal.Journal(store, run, token=token, operator=operator, mirror=mirror),
        lease_seconds=lease_seconds,
        reread=lambda: reread(store, run, token),
        update=lambda change: update(store, run, token, change, raise_token=False),
        asked=asked,
        change_lease=lambda change: _change_lease(store, run, token, change),
    )


def reread(store: ObjectStore, run: str, token: int) -> RunState:
    """Return the state; raise Fenced when another session, of this run or of a newer one, has made the token void."""
    found = read_current(store)
    if found and (found[0].run, found[0].token) != (run, token):
        raise _fenced(found[0].token, token, found[0].lease)
    state = read(store, run)
    _check_token(state, token)
    return state


def update(
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
            f"{order.command(held.phase)} of {held.operator} is at work on {held.host} (pid {held.pid}) "
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


def _new_id(store: ObjectStore, now: datetime) -> str:
    while True:
        run = f"{now:%Y-%m-%dT%H%MZ}-{secrets.token_hex(2)}"
        if not store.exists(state_key(run)):
            return run
