"""Which snapshots have outlived their keeping, by tier; never the newest proven one, nor one that an unfinished run needs.

What is removed here disappears from the listing; versions under object lock stay in the bucket until their lock ends and its
lifecycle rule takes them (playbooks/files/object-store/). The manifest goes first, so that what is half removed does not exist.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from rollout.environment import TIERS, Environment, Tier
from rollout.objectstore import AlreadyExists, ObjectStore
from rollout.order import RunState
from rollout.snapshots import catalogue
from rollout.snapshots import manifest as manifests
from rollout.snapshots.catalogue import Listed
from rollout.snapshots.records import Manifest

REDIS_TIER: Tier = "queue"  # what Redis holds is the queue's work
UNFINISHED_DAYS = 2  # an attempt that has no manifest by then never will
REMOVED = "removed-{tier}.json"


@dataclass(frozen=True)
class Removal:
    """What may go: a whole snapshot, or (`tier`) its part of one tier, and why. `keys` in the order of their removal."""

    id: str
    tier: Tier | None
    why: str
    keys: list[str]


def plan(store: ObjectStore, env: Environment, run: RunState | None) -> list[Removal]:
    """Return what has outlived its keeping by the store's clock; `run`: the newest; its snapshot stays until it is finalized.

    Raises Refused when that clock is not the runner's: a day that has not come yet ends nothing.
    """
    manifests.require_same_clock(store)
    now, days = store.now(), env.settings.snapshot_retention_days
    listed = list(catalogue.every(store))
    kept = _needed(listed, run)
    found: list[Removal] = []
    for one in listed:
        if one.manifest is None or one.id in kept:
            continue
        tiers = tiers_of(one.manifest)
        expired = [t for t in tiers if one.manifest.created_at < now - timedelta(days=days[t])]
        if tiers and len(expired) == len(tiers):
            why = f"older than {max(days[t] for t in tiers)} days, the longest that a tier of it is kept"
            found.append(Removal(one.id, None, why, list(_keys(store, one.id, first=one.manifest.key))))
            continue
        for tier in expired:
            if not store.exists(_note(one.manifest, tier)):
                why = f"{tier} older than {days[tier]} days"
                found.append(Removal(one.id, tier, why, _of_tier(one.manifest, tier)))
    for prefix in manifests.unfinished(store):
        name = prefix.removeprefix(manifests.ROOT)
        if _begun(name) < now - timedelta(days=UNFINISHED_DAYS):
            why = f"begun more than {UNFINISHED_DAYS} days ago and never finished, or half removed"
            found.append(Removal(name, None, why, list(_keys(store, name))))
    return found


def remove(store: ObjectStore, removal: Removal) -> None:
    """Remove what a plan names; a repeat after a kill goes on."""
    if removal.tier is not None:
        note = f"{manifests.ROOT}{removal.id}/{REMOVED.format(tier=removal.tier)}"
        with contextlib.suppress(AlreadyExists):
            store.create(note, json.dumps({"tier": removal.tier, "why": removal.why, "keys": removal.keys}, indent=1).encode())
    for key in removal.keys:
        store.remove(key)


def removed_tiers(store: ObjectStore, manifest: Manifest) -> list[Tier]:
    """Return the tiers whose part of a snapshot was removed."""
    present = set(store.keys(f"{manifest.prefix}/removed-"))
    return [tier for tier in TIERS if _note(manifest, tier) in present]


def tiers_of(manifest: Manifest) -> list[Tier]:
    """Return the tiers that a snapshot holds something of."""
    held = {one.origin.tier for one in manifest.databases} | ({REDIS_TIER} if manifest.redis else set())
    return [tier for tier in TIERS if tier in held]


def _needed(listed: list[Listed], run: RunState | None) -> set[str]:
    """Return the snapshots that stay whatever their age: the newest proven one of each tier, and those of a run under way."""
    needed: set[str] = set()
    for tier in TIERS:
        proven = (o.id for o in listed if o.state == "proven" and o.manifest and tier in tiers_of(o.manifest))
        needed.update(newest for newest in [next(proven, "")] if newest)
    if run is not None and not run.finalized:
        of_run = run.facts.get("manifest")
        needed.update(o.id for o in listed if o.manifest and (o.manifest.run == run.run or o.manifest.key == of_run))
    return needed


def _keys(store: ObjectStore, name: str, *, first: str = "") -> Iterator[str]:
    if first:
        yield first
    yield from (key for key in store.keys(f"{manifests.ROOT}{name}/") if key != first)


def _of_tier(manifest: Manifest, tier: Tier) -> list[str]:
    parts = [o.key for d in manifest.databases if d.origin.tier == tier for o in d.parts]
    return parts + ([o.key for r in manifest.redis for o in r.objects()] if tier == REDIS_TIER else [])


def _note(manifest: Manifest, tier: Tier) -> str:
    return f"{manifest.prefix}/{REMOVED.format(tier=tier)}"


def _begun(name: str) -> datetime:
    """Return when an attempt began, by its name (manifest.new_prefix); one of another form is taken for new."""
    try:
        return datetime.strptime(name.rpartition("-")[0] + "+0000", "%Y-%m-%dT%H-%M-%S.%fZ%z")
    except ValueError:
        return datetime.max.replace(tzinfo=datetime.now().astimezone().tzinfo)
