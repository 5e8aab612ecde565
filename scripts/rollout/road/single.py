"""One change taken back or discarded, on every live host of its tiers, under the run's lease and a token of its own."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rollout import order, runs, traffic
from rollout.engine import changes, ledger
from rollout.engine.changes import Change
from rollout.engine.ledger import Connection, Fence
from rollout.engine.stages import SWAPPED, Stages
from rollout.environment import Database, Environment
from rollout.errors import Fenced, Refused, RolloutError
from rollout.objectstore import ObjectStore
from rollout.session import Session

Act = Literal["revert", "discard"]
Show = Callable[[dict[str, Any]], None]
EVERY_SECONDS = 1.0
DONE = {"revert": "taken back", "discard": "discarded"}


@dataclass(frozen=True)
class Place:
    """The change on one host, and its stage there."""

    database: Database
    change: Change
    stage: str | None


@dataclass
class Ended:
    """What was done: on which hosts, in seconds, in which run ("" when nothing was to do).

    `rejects`: rows that only the shadow held, and since then the reject ledger.
    """

    hosts: list[str] = field(default_factory=list)
    seconds: float = 0.0
    run: str = ""
    rejects: int = 0


def run(env: Environment, name: str, act: Act, show: Show, *, why: str = "", dry_run: bool = False) -> Ended:
    """Take a swapped change back, or discard one that is expanded and not swapped; a repeat goes on where one was stopped.

    Raises Refused while green has traffic, while a change that requires it would be left standing, and past the point of no
    return; Failed when both sides differ afterwards.
    """
    started, store = time.monotonic(), ObjectStore(env.object_store)
    places = [place for place in _places(env, name, act) if _at_work(place, act)]
    _require_blue(env)
    order.allow(runs.current(store))
    if dry_run or not places:
        for place in places:
            say = f"would: {act} {name}, which is {place.stage}"
            show({"step": act, "host": place.database.host, "rate": None, "text": say})
        return Ended([place.database.host for place in places], time.monotonic() - started)
    words = f"{name} was {DONE[act]}" + (f": {why}" if why else "")
    with runs.open_act(
        store, env.name, f"change.{act}", operator=getpass.getuser(), lease_seconds=env.settings.lease_seconds,
        mirror=Path(env.artifacts), change=lambda state: order.take_apart(state, words),
        facts={"change": name, "why": why, "hosts": [place.database.host for place in places]},
    ) as session:  # fmt: skip
        _require_blue(env)  # again: from here on no other command can move traffic
        ended = Ended(run=session.run)
        try:
            for place in places:
                _act(env, session, place, act, show, ended)
            for place in places if act == "revert" else []:
                _compare(env, session, place, show)
        except RolloutError as error:
            if not isinstance(error, Fenced):
                session.journal.append("act_failed", act=f"change.{act}", change=name, observed=error.observed)
            raise
        session.journal.append("act_done", act=f"change.{act}", change=name, hosts=list(ended.hosts))
    ended.seconds = time.monotonic() - started
    return ended


def _places(env: Environment, name: str, act: Act) -> Iterator[Place]:
    """Yield the change on each live host of its tiers; raise Refused where it may not be touched."""
    for change in changes.find(name):
        for database in env.tier(change.tier):
            with ledger.connect(database) as connection:
                known = ledger.installed(connection)
                place = Place(database, change, ledger.stage(connection, name) if known else None)
                if known:
                    _require_free(connection, place, act)
            yield place


def _require_free(connection: Connection, place: Place, act: Act) -> None:
    change, host = place.change, place.database.host
    if place.stage in ("contracting", "contracted"):
        raise Refused(
            f"{change.name} is {place.stage} on {host}: the old relations are gone",
            next="restore a snapshot by name into a new place",
            page="runbooks/rollback.md#after-finalize",
        )
    if act == "discard" and place.stage in SWAPPED:
        raise Refused(
            f"{change.name} is {place.stage} on {host}: clients work with it",
            next=f"invoke change.revert --change {change.name}, or  invoke rollback",
        )
    for later in reversed(changes.dependents(change)):
        stage = ledger.stage(connection, later.name)
        if stage in SWAPPED or (act == "discard" and stage is not None):
            raise Refused(
                f"{later.name} requires {change.name} and is {stage} on {host}",
                next=f"invoke change.{'revert' if stage in SWAPPED else act} --change {later.name}",
            )


def _at_work(place: Place, act: Act) -> bool:
    """Tell whether there is something to do: of a revert also to compare, which an earlier one may not have come to."""
    if act == "discard":
        return place.stage is not None
    return place.stage == "swapped" or (place.change.rewrites and place.stage == "copied")


def _require_blue(env: Environment) -> None:
    percent = traffic.split(env).percent
    if percent != 0:  # NaN, when nothing serves, is no 0 either
        raise Refused(
            f"{percent:g} % of the traffic is on green, whose release needs the change",
            limit="0 %",
            next="invoke rollback",
            page="runbooks/rollback.md#one-change",
            verdict="fail" if percent > 0 else "inconclusive",
        )


def _act(env: Environment, session: Session, place: Place, act: Act, show: Show, ended: Ended) -> None:
    session.check()
    host, name = place.database.host, place.change.name
    with ledger.connect(place.database) as connection:
        stages = Stages(connection, place.change, Fence(session.run, session.token), env.settings)
        risk = ledger.at_risk(connection).get(name, 0)
        outcome = getattr(stages, act)()
    if not outcome.changed:
        return
    session.journal.append(f"change_{act}ed", host=host, at_risk=risk, **outcome.to_dict())
    if act == "revert":
        session.set_fact(f"rejects.{host}", outcome.facts["rejects"])
    ended.rejects += risk
    ended.hosts.append(host)
    show({"step": act, "host": host, "rate": outcome.seconds, "text": f"done: {name} {outcome.facts['held_ms']:.0f} ms"})


def _compare(env: Environment, session: Session, place: Place, show: Show) -> None:
    """Compare both sides, as a rollback does; raise Failed when they differ."""
    session.check()
    host, started, last = place.database.host, time.monotonic(), [time.monotonic()]

    def report(work: str, done: int, rate: float) -> None:
        if time.monotonic() - last[0] >= EVERY_SECONDS:
            last[0] = time.monotonic()
            show({"step": "compare", "host": host, "text": work, "done": done, "rate": round(rate)})

    if not place.change.rewrites:
        return
    with ledger.connect(place.database) as connection:
        stages = Stages(connection, place.change, Fence(session.run, session.token), env.settings, report)
        result = stages.compare()
    session.journal.append("change_compared", host=host, change=place.change.name, **result)
    say = f"done: compared {result['rows']:,} rows, 0 differences"
    show({"step": "compare", "host": host, "rate": time.monotonic() - started, "text": say})
