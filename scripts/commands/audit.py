"""Audit: a run's journal, and the audit trail of the product's data: verified, sealed, its partitions made."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable
from typing import Any

import psycopg
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, DRY, ENV, JSON, told
from rollout import environment, journal, order, runs, screen
from rollout.audit import evidence, log, partitions
from rollout.engine import ledger
from rollout.engine.ledger import Connection
from rollout.environment import TIERS, Database
from rollout.errors import BadInput, RolloutError
from rollout.objectstore import NotFound, ObjectStore
from rollout.review import scaffold

TIER = f"only this tier: {', '.join(TIERS)}"
RUN = "a run id; default: the newest"


@task(name="journal", help={"env": ENV, "run": RUN, "json": JSON, "debug": DEBUG})
@told
def of_journal(c: Context, env: str = "sandbox", run: str = "", json: bool = False, debug: bool = False) -> None:
    """Check the chain of a run's journal."""
    store = ObjectStore(environment.load(env).object_store)
    try:
        state = runs.read(store, run) if run else runs.current(store)
    except NotFound:
        raise BadInput(f"unknown run {run!r}", next="invoke status names the newest") from None
    if state is None:
        raise BadInput("no run has begun in this environment", next=order.COMMANDS["1"], page="runbooks/deploy.md#phase-1")
    problems = journal.check(store, state.run)
    events = sum(1 for _ in store.keys(f"runs/{state.run}/journal/"))
    if json:
        found = {"run": state.run, "events": events, "verdict": "fail" if problems else "pass", "problems": problems}
        print(jsons.dumps(found, indent=1))
    else:
        print(f"journal of run {state.run}: {events:,} events, " + ("broken" if problems else "chain intact"))
        print("\n".join(f"  {problem}" for problem in problems), end="\n" if problems else "")
    if problems:
        raise Exit(f"refused: {problems[0]}\nnext: change nothing in the bucket  see runbooks/audit.md#broken", code=1)


@task(help={"env": ENV, "tier": TIER, "json": JSON, "debug": DEBUG})
@told
def verify(c: Context, env: str = "sandbox", tier: str = "", json: bool = False, debug: bool = False) -> None:
    """Recompute the chain over the data's audit trail."""

    def act(connection: Connection, store: ObjectStore, host: str) -> dict[str, Any]:
        found = evidence.verify(connection, store, host)
        return found.to_dict() if found else {"verdict": "none"}

    found = _each(env, tier, act)
    _print(found, _verified, as_json=json)
    bad = [one for one in found if one["verdict"] in ("fail", "inconclusive")]
    if bad:
        which = ", ".join(one["host"] for one in bad)
        raise Exit(f"refused: {which}\nnext: change nothing; what to do is on the page  see runbooks/audit.md#broken", code=1)


@task(help={"env": ENV, "tier": TIER, "dry_run": DRY, "json": JSON, "debug": DEBUG})
@told
def seal(
    c: Context, env: str = "sandbox", tier: str = "", dry_run: bool = False, json: bool = False, debug: bool = False
) -> None:
    """Seal the data's audit trail and store its head."""

    def act(connection: Connection, store: ObjectStore, host: str) -> dict[str, Any]:
        if dry_run:
            tail = log.tail(connection) if log.there(connection) else None
            return {"verdict": "pass" if tail else "none", "unsealed": tail._asdict() if tail else None}
        found = evidence.seal(connection, store, host)
        return {**found.to_dict(), "verdict": "pass"} if found else {"verdict": "none"}

    found = _each(env, tier, act)
    _print(found, _sealed, as_json=json)
    _refuse_unanswered(found)


@task(name="partitions", help={"env": ENV, "tier": TIER, "dry_run": DRY, "json": JSON, "debug": DEBUG})
@told
def of_partitions(
    c: Context, env: str = "sandbox", tier: str = "", dry_run: bool = False, json: bool = False, debug: bool = False
) -> None:
    """Make the audit trail's next monthly partitions."""

    def act(connection: Connection, store: ObjectStore, host: str) -> dict[str, Any]:
        if not log.there(connection):
            return {"verdict": "none"}
        made = [] if dry_run else partitions.make(connection)
        return {"verdict": "pass", "partitions": made, "netted": partitions.netted(connection)}

    found = _each(env, tier, act)
    _print(found, _made, as_json=json)
    _refuse_unanswered(found)


def _each(env: str, tier: str, act: Callable[[Connection, ObjectStore, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """Act on each live database; one that does not answer is inconclusive, and does not keep the others from theirs."""
    tiers = [scaffold.choice("tier", tier, TIERS)] if tier else list(TIERS)
    loaded = environment.load(env)
    store = ObjectStore(loaded.object_store)
    return [_one(database, store, act) for t in tiers for database in loaded.tier(t)]


def _one(
    database: Database, store: ObjectStore, act: Callable[[Connection, ObjectStore, str], dict[str, Any]]
) -> dict[str, Any]:
    try:
        with ledger.connect(database, "rollout-audit") as connection:
            found = act(connection, store, database.host)
    except (RolloutError, psycopg.Error) as error:
        words = error.observed if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}".strip().splitlines()[0]
        found = {"verdict": "inconclusive", "error": words}
    return {"host": database.host, "tier": database.tier, **found}


def _print(found: list[dict[str, Any]], words: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    if as_json:
        print(jsons.dumps(found, indent=1))
        return
    for one in found:
        said = "no audit trail" if one["verdict"] == "none" else one.get("error") or words(one)
        print(f"{one['host']:<16} {one['verdict']:<13} {said}")


def _refuse_unanswered(found: list[dict[str, Any]]) -> None:
    if silent := [one["host"] for one in found if one["verdict"] == "inconclusive"]:
        raise Exit(screen.for_environment(f"failed: {', '.join(silent)}\nnext: mend that, then repeat the command", ""), code=1)


def _verified(one: dict[str, Any]) -> str:
    wrong = one["wrong"]
    says = f"{wrong['says']}; " if wrong else ""
    return f"{says}{one['rows']:,} rows in {one['blocks']:,} blocks as sealed, {one['heads']:,} heads; {_tail(one)}"


def _sealed(one: dict[str, Any]) -> str:
    return (f"sealed {one['rows']:,} rows; head {one['block']:,} {one['hash'][:12]}; " if "rows" in one else "") + _tail(one)


def _made(one: dict[str, Any]) -> str:
    return f"made {', '.join(one['partitions']) or 'none'}; {one['netted']:,} rows outside any month's"


def _tail(one: dict[str, Any]) -> str:
    tail = one["unsealed"]
    return f"unsealed: {tail['rows']:,} rows, oldest {tail['oldest_seconds']:.0f} s"
