"""Snapshots: taken, proven, listed, and let go."""

from __future__ import annotations

import getpass
import json as jsons
import time
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, DRY, ENV, JSON, confirmed, told
from rollout import environment, runs, screen
from rollout.environment import TIERS, Environment, Tier
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.recovery import base as bases
from rollout.recovery import moments, promises, receiving
from rollout.recovery import proof as tries
from rollout.recovery import retention as log_retention
from rollout.snapshots import catalogue, retention, taking, verifying
from rollout.snapshots import screen as pages
from rollout.snapshots.records import Manifest

TIER = f"only this tier: {', '.join(TIERS)}"
ID = "a snapshot's name, latest, or proven (the newest that is)"


@task(
    help={
        "env": ENV,
        "tier": TIER,
        "why": "the reason, for the manifest",
        "verify": "prove it at once",
        "json": JSON,
        "debug": DEBUG,
    }
)
@told
def take(
    c: Context, env: str = "sandbox", tier: str = "", why: str = "", verify: bool = False, json: bool = False,
    debug: bool = False,
) -> None:  # fmt: skip
    """Snapshot all databases and Redis to the object store."""
    found, wanted = environment.load(env), tiers(tier)
    store, began = ObjectStore(found.object_store), time.monotonic()
    with screen.lines(quiet=json) as show:
        made = taking.take(found, store, wanted, show, who=getpass.getuser(), why=why or "asked for")
        proof = verifying.verify(found, store, made, show, by=getpass.getuser()) if verify else None
    listed = catalogue.Listed(made.id, made, proof)
    if json:
        print(jsons.dumps(pages.as_json(listed), indent=1))
    else:
        print(screen.for_environment(pages.taken(listed, time.monotonic() - began), env))
    _end(listed)


@task(
    help={
        "env": ENV,
        "snapshot": ID,
        "log": "recover the servers from base backup and log instead, as far as it goes",
        "tier": "with --log: " + TIER,
        "json": JSON,
        "debug": DEBUG,
    }
)
@told
def verify(
    c: Context, env: str = "sandbox", snapshot: str = catalogue.LATEST, log: bool = False, tier: str = "", json: bool = False,
    debug: bool = False,
) -> None:  # fmt: skip
    """Restore it into throw-away servers and compare all of it."""
    found = environment.load(env)
    store, began = ObjectStore(found.object_store), time.monotonic()
    if log:
        _verify_log(found, store, tiers(tier), json=json)
        return
    if tier:
        raise BadInput("--tier goes with --log: a snapshot is verified whole", next="leave --tier away")
    manifest = catalogue.find(store, snapshot)
    with screen.lines(quiet=json) as show:
        proof = verifying.verify(found, store, manifest, show, by=getpass.getuser())
    listed = catalogue.Listed(manifest.id, manifest, proof)
    if json:
        print(proof.model_dump_json(indent=1))
    else:
        print(pages.proven(listed, time.monotonic() - began))
    _end(listed)


@task(name="list", help={"env": ENV, "json": JSON, "debug": DEBUG})
@told
def list_(c: Context, env: str = "sandbox", json: bool = False, debug: bool = False) -> None:
    """List the snapshots, with what proves them."""
    store = ObjectStore(environment.load(env).object_store)
    listed = list(catalogue.every(store))
    if json:
        print(jsons.dumps([pages.as_json(one) for one in listed], indent=1))
    else:
        pages.table(listed)


@task(help={"env": ENV, "json": JSON, "debug": DEBUG})
@told
def status(c: Context, env: str = "sandbox", json: bool = False, debug: bool = False) -> None:
    """Show what could be lost, and how soon it was back."""
    found = environment.load(env)
    lines = promises.measure(found, ObjectStore(found.object_store))
    if json:
        print(jsons.dumps([one.to_dict() for one in lines], indent=1))
    else:
        pages.promises(lines)
    if wrong := [one for one in lines if one.verdict != "pass"]:
        words = f"refused: {wrong[0].tier}: {wrong[0].why}\nnext: {wrong[0].next}  see runbooks/snapshots.md#status"
        raise Exit(screen.for_environment(words, env), code=1)


@task(help={"env": ENV, "tier": TIER, "json": JSON, "debug": DEBUG})
@told
def base(c: Context, env: str = "sandbox", tier: str = "", json: bool = False, debug: bool = False) -> None:
    """Take a base backup of every server."""
    found = environment.load(env)
    store, made = ObjectStore(found.object_store), []
    with screen.lines(quiet=json) as show:
        for live in (database for one in tiers(tier) for database in found.tier(one)):
            began = time.monotonic()
            days = found.settings.snapshot_retention_days[live.tier]
            made.append(bases.take(live, store, taking.reporter("base", live.host, show), keep_days=days))
            words = f"done: {made[-1].tar.size / 2**20:,.1f} MiB of {made[-1].database_bytes / 2**20:,.1f}"
            show({"step": "base", "host": live.host, "text": words, "rate": time.monotonic() - began})
    if json:
        print(jsons.dumps([one.model_dump(mode="json") for one in made], indent=1))
    else:
        words = f"{len(made)} base backups\nnext: invoke snapshot.receive  keeps the log behind them, as a service"
        print(screen.for_environment(words, env))


@task(help={"env": ENV, "tier": TIER, "debug": DEBUG})
@told
def receive(c: Context, env: str = "sandbox", tier: str = "", debug: bool = False) -> None:
    """Keep the databases' log in the object store: a service."""
    found = environment.load(env)
    receiving.run(found, ObjectStore(found.object_store), tiers(tier), lambda words: print(words, flush=True))


@task(help={"env": ENV, "dry_run": DRY, "confirm": CONFIRM, "debug": DEBUG})
@told
def prune(c: Context, env: str = "sandbox", dry_run: bool = False, confirm: str = "", debug: bool = False) -> None:
    """Remove what has outlived its keeping."""
    found = environment.load(env)
    store = ObjectStore(found.object_store)
    removals = retention.plan(store, found, runs.current(store)) + log_retention.plan(store, found)
    if removals and not dry_run:
        what = f"{sum(len(r.keys) for r in removals)} objects of {len({r.id for r in removals})} snapshots of {env}"
        confirmed(found, confirm, f"{what} go")
    for one in removals:
        what = f"{one.id} {one.tier or ''}".strip()
        print(f"{'would remove' if dry_run else 'removed'} {what}: {len(one.keys)} objects; {one.why}")
        if not dry_run:
            retention.remove(store, one)
    if not removals:
        print("nothing has outlived its keeping")


def tiers(tier: str) -> list[Tier]:
    """Return the tier named, or all; raise BadInput for an unknown one."""
    if not tier:
        return list(TIERS)
    for known in TIERS:
        if tier == known:
            return [known]
    raise BadInput(f"unknown tier {tier!r}", limit=f"one of {', '.join(TIERS)}", next="leave --tier away for all")


def _verify_log(env: Environment, store: ObjectStore, wanted: list[Tier], *, json: bool) -> None:
    """Recover each server of the tiers as far as its log goes; exit 1 when one is not as it should be."""
    made: list[tries.Tried] = []
    with screen.lines(quiet=json) as show:
        for live in (database for one in wanted for database in env.tier(one)):
            newest = list(bases.every(store, live.host))
            if not newest:
                raise BadInput(f"there is no base backup of {live.host}", next=f"invoke snapshot.base --tier {live.tier}")
            seconds, findings, until = moments.prove(env, store, live, show)
            tried = tries.Tried(host=live.host, base=newest[-1].id, verdict="fail" if findings else "pass", at=store.now(),
                                until=until, seconds=seconds, findings=findings, by=getpass.getuser())  # fmt: skip
            tries.write(store, newest[-1], tried)
            made.append(tried)
            words = f"failed: {findings[0]}" if findings else f"done: as of {until:%H:%M:%S} UTC, every index agrees"
            show({"step": "verify", "host": live.host, "text": words, "rate": seconds})
    if json:
        print(jsons.dumps([one.model_dump(mode="json") for one in made], indent=1))
    if wrong := [one for one in made if one.findings]:
        raise Exit(f"failed: {wrong[0].host}: {wrong[0].findings[0]}\nnext: invoke snapshot.base", code=1)
    if not json:
        print(f"{len(made)} servers recovered; the longest took {max(one.seconds for one in made):.1f} s")


def _end(listed: catalogue.Listed) -> None:
    proof: Any = listed.proof
    manifest: Manifest | None = listed.manifest
    if proof is not None and proof.verdict != "pass" and manifest is not None:
        first = (proof.findings or [d for one in proof.comparisons.values() for d in one.differences] or ["it is not whole"])[0]
        words = f"failed: {manifest.id} does not restore to what it was taken from: {first}"
        following = f"next: invoke snapshot.take --verify -e {manifest.environment}  see runbooks/snapshots.md#differs"
        raise Exit(f"{words}\n{following}", code=1)
