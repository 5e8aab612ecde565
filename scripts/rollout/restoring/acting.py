"""Restored databases exchanged with the live ones, and back: under the environment's lease, the application closed meanwhile.

What is done is in the run's journal. A kill leaves the application closed at worst: the same command finds which names have
changed, and opens it.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout import order, runs
from rollout.engine import changes, ledger
from rollout.engine.stages import SWAPPED
from rollout.environment import Database, Environment, Tier
from rollout.errors import BadInput, Refused
from rollout.objectstore import ObjectStore
from rollout.restoring import closing
from rollout.restoring.bringing import PAGE, Place, Show
from rollout.restoring.exchange import Exchanged, exchange, kept_name
from rollout.session import Session
from rollout.snapshots import label
from rollout.snapshots.label import Label
from rollout.snapshots.records import now
from rollout.snapshots.server import administering

CLOSED = "restore.closed"
KEPT = """
SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND datname <> %s
"""


@dataclass
class Done:
    """What an act exchanged, for how long the application was closed (seconds), and in which run."""

    exchanged: list[tuple[Database, Exchanged]] = field(default_factory=list)
    closed_seconds: float = 0.0
    run: str = ""


@dataclass(frozen=True)
class Pair:
    """A live database and the name of the one that takes its place."""

    live: Database
    name: str


def exchange_all(env: Environment, store: ObjectStore, pairs: list[Pair], show: Show, *, why: str) -> Done:
    """Exchange every pair with the application closed; when one is refused, those before it are taken back. Then it is opened.

    Raises Refused while a phase has begun and is not rolled back or finalized, while another command is at work, or where the
    restored schema is not at the stage of the live one.
    """
    for pair in pairs:
        require_same_stages(pair)
    with runs.open_act(
        store, env.name, order.RESTORE, operator=getpass.getuser(), lease_seconds=env.settings.lease_seconds,
        mirror=Path(env.artifacts), change=lambda state: None, allow=order.allow_restore,
        facts={"pairs": {pair.live.host: pair.name for pair in pairs}, "why": why},
    ) as session:  # fmt: skip
        done = under_session(env, session, pairs, show)
        session.journal.append("act_done", act=order.RESTORE, closed_seconds=done.closed_seconds)
    return done


def under_session(
    env: Environment, session: Session, pairs: list[Pair], show: Show, *, opened: Callable[[], None] | None = None
) -> Done:
    """Close the application, exchange, open it again; `session` may be that of an act or of a phase.

    `opened` opens it after the exchange for another release than served before; without it those servers get requests again.
    """
    done, began = Done(run=session.run), time.monotonic()
    known: Any = session.state().facts.get(CLOSED)  # of an attempt that was killed: they were serving before it
    servers = [str(name) for name in known] if known else closing.serving(env)
    session.set_fact(CLOSED, list(servers))
    try:
        closed = closing.close(env, servers)
        session.journal.append("application_closed", servers=list(servers), left=dict(closed.left))
        words = f"done: {len(servers)} servers drained, {sum(closed.left.values())} sessions left"
        show(_line("close", "load balancer", words, closed.seconds))
        for pair in pairs:
            session.check()
            _exchange(session, pair, show, done)
    except BaseException:
        for database, made in reversed(done.exchanged):
            if made.changed:
                exchange(database, made.kept, _name_of(pairs, database))
        _open(env, session, servers, None, done, show, began)
        raise
    _open(env, session, servers, opened, done, show, began)
    return done


def _open(
    env: Environment, session: Session, servers: list[str], opened: Callable[[], None] | None, done: Done, show: Show,
    began: float,
) -> None:  # fmt: skip
    asked = time.monotonic()
    if opened:
        opened()
    else:
        closing.reopen(env, servers)
    session.set_fact(CLOSED, None)
    done.closed_seconds = round(time.monotonic() - began, 3)
    session.journal.append("application_opened", servers=list(servers), closed_seconds=done.closed_seconds)
    show(_line("open", "load balancer", f"done: closed for {done.closed_seconds:.1f} s in all", time.monotonic() - asked))


def replaced(env: Environment, tiers: list[Tier]) -> list[Pair]:
    """Return what each live database of the tiers was before its last exchange; raise BadInput where nothing was exchanged."""
    pairs: list[Pair] = []
    for live in (database for tier in tiers for database in env.tier(tier)):
        with administering(live) as connection:
            names = [str(row[0]) for row in connection.execute(KEPT, (live.dbname,))]
            labels = {name: label.read(connection, name) for name in names}
        found = {name: one for name, one in labels.items() if one and one.replaced and one.host == live.host}
        if not found:
            words = f"{live.host} keeps no database that was replaced"
            raise BadInput(words, next="invoke restore --snapshot ID --exchange", page=PAGE)
        pairs.append(Pair(live, max(found, key=lambda name: _when(found[name]))))
    return pairs


def require_same_stages(pair: Pair) -> None:
    """Raise Refused where the schemas of both are not at the same stage: the release that serves would not fit."""
    stages = [_swapped(database) for database in (pair.live, pair.live.model_copy(update={"dbname": pair.name}))]
    if stages[0] != stages[1]:
        words = [", ".join(sorted(s)) or "nothing" for s in stages]
        raise Refused(
            f"{pair.live.host} has swapped or contracted {words[0]}; {pair.name} {words[1]}",
            limit="the same, or the release that serves would not find its schema",
            next="invoke rollback --to-snapshot ID  brings back schema, data and release together",
            page=f"{PAGE}#to-a-snapshot",
        )


def _swapped(database: Database) -> set[str]:
    with ledger.connect(database) as connection:
        if not ledger.installed(connection):
            return set()
        found = {one.name: ledger.stage(connection, one.name) for one in changes.plan(database.tier)}
    return {name for name, stage in found.items() if stage in SWAPPED or stage in ("contracting", "contracted")}


def _exchange(session: Session, pair: Pair, show: Show, done: Done) -> None:
    host, kept = pair.live.host, kept_name(pair.live.dbname, now())
    began = time.monotonic()
    made = exchange(pair.live, pair.name, kept)
    done.exchanged.append((pair.live, made))
    session.journal.append("exchanged", host=host, live=made.live, restored=pair.name, kept=made.kept, changed=made.changed,
                           sessions_ended=made.ended, closed_ms=made.closed_ms)  # fmt: skip
    now_is = f"done: {pair.name} is {made.live} now; the replaced one is {made.kept}"
    words = now_is if made.changed else f"done: {made.live} is it already"
    show(_line("exchange", host, words, time.monotonic() - began))


def _name_of(pairs: list[Pair], database: Database) -> str:
    return next(pair.name for pair in pairs if pair.live == database)


def _when(found: Label | None) -> float:
    return found.replaced.timestamp() if found and found.replaced else 0.0


def pairs_of(places: list[Place]) -> list[Pair]:
    """Return the places as pairs."""
    return [Pair(place.live, place.name) for place in places]


def _line(step: str, host: str, text: str, seconds: float) -> dict[str, Any]:
    return {"step": step, "host": host, "rate": seconds, "text": text}

