"""Restore: a snapshot brought back beside the live data and compared; exchanged with it only when asked for by name."""

from __future__ import annotations

import getpass
import json as jsons
import time
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, ENV, JSON, confirmed, told
from commands.snapshot import ID, TIER, tiers
from rollout import environment, screen
from rollout.environment import TIERS, Environment, Tier
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.recovery import moments
from rollout.restoring import acting, bringing, live_redis
from rollout.snapshots import catalogue
from rollout.snapshots.records import Manifest


@task(
    help={
        "env": ENV,
        "snapshot": ID,
        "tier": TIER,
        "to": "instead: a moment with its zone, such as '2026-11-22 10:15:00+00:00'; from base backup and log, one tier",
        "into": "the new database's name; default: the live one's and the snapshot's time",
        "exchange": "then let it take the live one's place; that one is kept",
        "why": "the reason, for the journal",
        "confirm": CONFIRM,
        "json": JSON,
        "debug": DEBUG,
    }
)
@told
def restore(
    c: Context, env: str = "sandbox", snapshot: str = "", tier: str = "", to: str = "", into: str = "", exchange: bool = False,
    why: str = "", confirm: str = "", json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Bring a snapshot back beside the live data, and compare it."""
    if bool(snapshot) == bool(to):
        words = "which snapshot, or which moment?" if not snapshot else "--snapshot and --to exclude each other"
        raise BadInput(words, limit="--snapshot ID, or --to TIME", next="invoke snapshot.list", page="runbooks/restore.md")
    found, wanted = environment.load(env), tiers(tier)
    store, began = ObjectStore(found.object_store), time.monotonic()
    manifest = _as_of(found, store, wanted, to, why, quiet=json) if to else catalogue.find(store, snapshot)
    places = bringing.places(found, store, manifest, wanted, into)
    lost = f"what was written since {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC is then only in the replaced databases"
    if exchange:
        confirmed(found, confirm, f"{', '.join(p.live.dbname for p in places)} of {env} are exchanged; {lost}", always=True)
    with screen.lines(quiet=json) as show:
        brought = bringing.bring(store, manifest, places, show)
        done = acting.exchange_all(found, store, acting.pairs_of(places), show, why=why or manifest.id) if exchange else None
    if json:
        print(jsons.dumps(_as_json(manifest.id, brought, done), indent=1))
        return
    names = ", ".join(f"{p.name} on {p.live.host}" for p in places)
    print(f"{manifest.id} is restored and equal in {time.monotonic() - began:.1f} s: {names}")
    if done is None:
        words = f"live is as it was\nnext: look at it, then  invoke restore --snapshot {manifest.id}{_tier(tier)} --exchange"
        print(screen.for_environment(words, env))
    else:
        _exchanged(done, lost, env)


@task(help={"env": ENV, "tier": TIER, "why": "the reason, for the journal", "confirm": CONFIRM, "debug": DEBUG})
@told
def undo(c: Context, env: str = "sandbox", tier: str = "", why: str = "", confirm: str = "", debug: bool = False) -> None:
    """Exchange back what was live before the last exchange."""
    found = environment.load(env)
    pairs = acting.replaced(found, tiers(tier))
    lost = "what was written since the exchange is then only in the databases that it brought"
    confirmed(found, confirm, f"{', '.join(p.live.dbname for p in pairs)} of {env} are exchanged back; {lost}", always=True)
    with screen.lines() as show:
        done = acting.exchange_all(found, ObjectStore(found.object_store), pairs, show, why=why or "undo")
    _exchanged(done, lost, env)


@task(
    help={
        "env": ENV,
        "snapshot": ID,
        "pattern": "only keys like this, such as 'campaign:*'; default: all of it, exchanged in one step",
        "delete_absent": "with --pattern: keys that match and that the snapshot has not go, too",
        "undo": "take back the last one instead",
        "why": "the reason, for the journal",
        "confirm": CONFIRM,
        "debug": DEBUG,
    }
)
@told
def redis(
    c: Context, env: str = "sandbox", snapshot: str = "", pattern: str = "", delete_absent: bool = False, undo: bool = False,
    why: str = "", confirm: str = "", debug: bool = False,
) -> None:  # fmt: skip
    """Bring a snapshot into the live Redis; what was is kept."""
    found = environment.load(env)
    store = ObjectStore(found.object_store)
    if bool(snapshot) == undo:
        words = "--undo takes back the last one, whichever it was" if undo else "which snapshot?"
        raise BadInput(words, limit="--snapshot ID, or --undo", next="invoke snapshot.list", page="runbooks/restore.md#redis")
    if delete_absent and not pattern:
        raise BadInput("--delete-absent goes with --pattern", next="leave it away: all of it is exchanged")
    host = found.redis_of("live").host
    if undo:
        confirmed(found, confirm, f"{host} of {env} goes back to what it held before the last restore", always=True)
        with screen.lines() as show:
            done = live_redis.undo(found, store, show, why=why)
        print(f"{host} holds what it held before {done.snapshot} was brought in\nrun {done.run}")
        return
    manifest = catalogue.find(store, snapshot)
    what = f"keys like {pattern}" if pattern else "all keys"
    words = f"{what} of {host} of {env} become those of {manifest.created_at:%Y-%m-%d %H:%M} UTC; what they are is kept"
    confirmed(found, confirm, words, always=True)
    with screen.lines() as show:
        done = live_redis.bring(found, store, manifest, show, pattern=pattern, delete_absent=delete_absent, why=why)
    if done.exchanged:
        print(f"{host} holds {done.exchanged.keys:,} keys of {manifest.id}; exchanged in {done.exchanged.swap_ms:.1f} ms")
    elif done.merged:
        one = done.merged
        told = f"{one.replaced:,} keys replaced, {one.added:,} added, {one.deleted:,} deleted, {one.kept:,} were so already"
        print(f"{host}: {told}")
    words = f"run {done.run}\nnext: invoke restore.queue  compares its jobs; invoke restore.redis --undo  goes back"
    print(screen.for_environment(words, env))


@task(help={"env": ENV, "apply": "put it right by the rule of each class", "confirm": CONFIRM, "json": JSON, "debug": DEBUG})
@told
def queue(
    c: Context, env: str = "sandbox", apply: bool = False, confirm: str = "", json: bool = False, debug: bool = False
) -> None:
    """Compare the jobs of Redis with the queue database's."""
    found = environment.load(env)
    if apply:
        confirmed(found, confirm, f"jobs in Redis and queue of {env} are put right by the rules of runbooks/restore.md#redis")
    with screen.lines(quiet=json) as show:
        seen = live_redis.queue(found, ObjectStore(found.object_store), show, apply=apply)
    if json:
        print(seen.model_dump_json(indent=1))
    else:
        print(f"{seen.redis}: {seen.entries:,} entries of lists; {seen.database}: {seen.jobs:,} jobs")
        for name, one in seen.classes.items():
            such = f"; such as {one.sample[0]}" if one.sample else ""
            print(f"  {name:<12} {one.found:>8,}  {one.rule}; {one.done:,} done{such}")
    if not seen.consistent:
        left = sum(one.found - one.done for one in seen.classes.values() if one.rule != "keep")
        raise Exit(f"refused: {left:,} jobs disagree\nnext: invoke restore.queue --apply  see runbooks/restore.md#redis", code=1)


def _as_of(env: Environment, store: ObjectStore, wanted: list[Tier], to: str, why: str, *, quiet: bool) -> Manifest:
    """Return a new snapshot of a tier as it was at a moment."""
    moment = moments.parse(to)
    if len(wanted) != 1:
        raise BadInput("--to needs one tier", limit=f"--tier {'|'.join(TIERS)}", next="name it", page="runbooks/restore.md")
    with screen.lines(quiet=quiet) as show:
        return moments.snapshot_at(env, store, wanted[0], moment, show, who=getpass.getuser(), why=why)


def _exchanged(done: acting.Done, lost: str, env: str) -> None:
    print(f"exchanged; the application was closed for {done.closed_seconds:.1f} s; {lost}:")
    for database, made in done.exchanged:
        print(f"  {database.host:<20} {made.kept}")
    words = f"run {done.run}\nnext: invoke restore.undo  goes back; drop the replaced ones when nobody needs them"
    print(screen.for_environment(words, env))


def _as_json(name: str, brought: list[bringing.Brought], done: acting.Done | None) -> dict[str, Any]:
    restored = [
        {"host": b.place.live.host, "database": b.place.name, "seconds": b.seconds, "changed": b.changed,
         "rows": b.comparison.rows if b.comparison else None, "differences": 0}  # one that differs is an error
        for b in brought
    ]  # fmt: skip
    exchanged = [
        {"host": d.host, "live": e.live, "kept": e.kept, "changed": e.changed, "closed_ms": e.closed_ms}
        for d, e in (done.exchanged if done else [])
    ]
    seconds = done.closed_seconds if done else None
    return {"snapshot": name, "restored": restored, "exchanged": exchanged, "closed_seconds": seconds}


def _tier(tier: str) -> str:
    return f" --tier {tier}" if tier else ""
