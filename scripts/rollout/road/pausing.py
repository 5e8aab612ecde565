"""The copying of one change paused or resumed on every live host of its tiers; no run and no fence is needed to wait."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from typing import Any

from rollout.engine import changes, controls, ledger
from rollout.engine.ledger import Connection
from rollout.environment import Environment
from rollout.errors import Refused

Show = Callable[[dict[str, Any]], None]


def pause(env: Environment, name: str, show: Show, *, why: str, dry_run: bool = False) -> None:
    """Have a change's copying wait; raise Refused, after the others, for hosts where there is none yet."""

    def act(connection: Connection) -> str:
        return str(controls.pause(connection, name, getpass.getuser(), why))

    _each(env, name, "pause", act, show, dry_run=dry_run)


def resume(env: Environment, name: str, show: Show, *, dry_run: bool = False) -> None:
    """Let a change's copying go on; raise Refused, after the others, for hosts where there is none yet."""

    def act(connection: Connection) -> str:
        was = controls.resume(connection, name, getpass.getuser())
        return f"goes on; it was {was}" if was else "was not paused"

    _each(env, name, "resume", act, show, dry_run=dry_run)


def _each(
    env: Environment, name: str, step: str, act: Callable[[Connection], str], show: Show, *, dry_run: bool
) -> None:
    without: list[str] = []
    for host, connection in _connections(env, name):
        now = controls.paused(connection, name) if ledger.installed(connection) else None
        if not ledger.installed(connection):
            without.append(host)
        elif dry_run:
            show({"step": step, "host": host, "rate": None, "text": f"would: {step} {name} ({now or 'not paused'})"})
        else:
            show({"step": step, "host": host, "rate": None, "text": f"done: {name} {act(connection)}"})
    if without:
        raise Refused(
            f"no ledger on {', '.join(without)}: nothing of {name} is copied there yet",
            next=f"repeat it when phase 2 has begun: invoke change.{step} --change {name}",
        )


def _connections(env: Environment, name: str) -> Iterator[tuple[str, Connection]]:
    for change in changes.find(name):
        for database in env.tier(change.tier):
            with ledger.connect(database) as connection:
                yield database.host, connection
