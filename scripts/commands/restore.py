"""Restore: a snapshot brought back beside the live data and compared; exchanged with it only when asked for by name."""

from __future__ import annotations

import getpass
import json as jsons
import time
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, ENV, JSON, confirmed, told
from commands.snapshot import ID, TIER, tiers
from rollout import environment, screen
from rollout.environment import TIERS, Environment, Tier
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.recovery import moments
from rollout.restoring import acting, bringing
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
        print(f"live is as it was\nnext: look at it, then  invoke restore --snapshot {manifest.id}{_tier(tier)} --exchange")
    else:
        _exchanged(done, lost)


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
    _exchanged(done, lost)


def _as_of(env: Environment, store: ObjectStore, wanted: list[Tier], to: str, why: str, *, quiet: bool) -> Manifest:
    """Return a new snapshot of a tier as it was at a moment."""
    moment = moments.parse(to)
    if len(wanted) != 1:
        raise BadInput("--to needs one tier", limit=f"--tier {'|'.join(TIERS)}", next="name it", page="runbooks/restore.md")
    with screen.lines(quiet=quiet) as show:
        return moments.snapshot_at(env, store, wanted[0], moment, show, who=getpass.getuser(), why=why)


def _exchanged(done: acting.Done, lost: str) -> None:
    print(f"exchanged; the application was closed for {done.closed_seconds:.1f} s; {lost}:")
    for database, made in done.exchanged:
        print(f"  {database.host:<20} {made.kept}")
    print(f"run {done.run}\nnext: invoke restore.undo  goes back; drop the replaced ones when nobody needs them")


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
