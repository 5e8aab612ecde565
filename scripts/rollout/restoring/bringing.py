"""A snapshot brought back beside the live databases: a new name on the same server, compared, labelled. Live is not touched."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rollout import snapshots
from rollout.environment import Database, Environment, Tier
from rollout.errors import BadInput, Failed
from rollout.objectstore import ObjectStore
from rollout.restoring.exchange import named
from rollout.snapshots import label, retention
from rollout.snapshots.label import Label
from rollout.snapshots.records import Comparison, DatabaseSnapshot, Manifest, now
from rollout.snapshots.server import administering

Show = Callable[[dict[str, Any]], None]
PAGE = "runbooks/restore.md"
EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Place:
    """A live database, what the snapshot holds of it, and the name that it is restored under."""

    live: Database
    taken: DatabaseSnapshot
    name: str

    @property
    def target(self) -> Database:
        """Return the restored database as one that can be connected to."""
        return self.live.model_copy(update={"dbname": self.name})


@dataclass(frozen=True)
class Brought:
    """What was restored where: seconds, the comparison; `changed` is false when a compared one was there already."""

    place: Place
    seconds: float
    comparison: Comparison | None
    changed: bool


def places(env: Environment, store: ObjectStore, manifest: Manifest, tiers: list[Tier], into: str = "") -> list[Place]:
    """Return where each database of the tiers goes; raise BadInput when the snapshot lacks one, or `into` names several."""
    gone = retention.removed_tiers(store, manifest)
    found: list[Place] = []
    for tier in tiers:
        if tier in gone:
            raise BadInput(
                f"the part of {tier} was removed from {manifest.id} when its time was over",
                next="invoke snapshot.list shows younger ones",
                page=PAGE,
            )
        for live in env.tier(tier):
            taken = next((one for one in manifest.databases if one.origin.host == live.host), None)
            if taken is None:
                held = ", ".join(one.origin.host for one in manifest.databases)
                raise BadInput(f"{manifest.id} holds no {live.host}", limit=f"one of {held}", next="invoke snapshot.list")
            found.append(Place(live, taken, into or named(live.dbname, f"from_{manifest.id[:19].replace('-', '').lower()}")))
    if into and len(found) > 1:
        words = f"--into {into} names one database, {len(found)} would be restored"
        raise BadInput(words, next="name one --tier, or leave --into away", page=PAGE)
    for place in found:
        if place.name == place.live.dbname:
            raise BadInput(f"--into {into} is the live database", limit="a new name", next="leave --into away", page=PAGE)
    return found


def bring(store: ObjectStore, manifest: Manifest, found: list[Place], show: Show, *, at_once: int = 4) -> list[Brought]:
    """Restore and compare every place, some at once; a repeat after an interruption goes on, and finds what is done.

    Raises Failed for the first that cannot be restored or differs, once the others have ended.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        waited = [pool.submit(_one, store, manifest, place, show) for place in found]
    return [one.result() for one in waited]


def _one(store: ObjectStore, manifest: Manifest, place: Place, show: Show) -> Brought:
    began, host = time.monotonic(), place.live.host
    of_live = _label(place, place.live.dbname)
    if of_live and of_live.name == place.name and of_live.snapshot == manifest.id and not of_live.replaced:
        show(_line("restore", host, f"done: {place.name} is live already", rate=0.0))
        return Brought(place, 0.0, None, changed=False)
    if (known := _label(place, place.name)) and known.compared:
        if known.snapshot != manifest.id or known.host != host:
            raise BadInput(
                f"{host} has a database {place.name}, restored from {known.snapshot}",
                next="name another with --into, or drop that one",
                page=PAGE,
            )
        words = f"done: {place.name} is there, compared at {known.compared:%H:%M:%S} UTC"
        show(_line("restore", host, words, rate=0.0))
        return Brought(place, 0.0, None, changed=False)
    last = [time.monotonic()]

    def report(what: str, done: int, total: int | None) -> None:
        if time.monotonic() - last[0] >= EVERY_SECONDS:
            last[0] = time.monotonic()
            show(_line("restore", host, what, done=done, total=total))

    show(_line("restore", host, f"start: {place.name} from {manifest.id}"))
    snapshots.restore_database(place.taken, store, place.target, report, beside=True, name=manifest.id)
    comparison = snapshots.compare_database(place.taken, place.target, report)
    if not comparison.equal:
        raise Failed(
            f"{host}: {place.name} differs from the snapshot in {comparison.differences_total} places:"
            f" {'; '.join(comparison.differences[:3])}",
            limit="0 differences",
            next="do not use it: invoke restore with an older snapshot; drop it when you have looked at it",
            page=f"{PAGE}#differs",
        )
    with administering(place.live) as connection:
        label.write(connection, place.name, Label(snapshot=manifest.id, host=host, name=place.name, compared=now()))
    seconds = time.monotonic() - began
    words = f"done: {place.name}, {comparison.rows:,} rows in {comparison.tables} tables equal"
    show(_line("restore", host, words, rate=seconds))
    return Brought(place, round(seconds, 3), comparison, changed=True)


def _label(place: Place, dbname: str) -> Label | None:
    with administering(place.live) as connection:
        return label.read(connection, dbname)


def _line(step: str, host: str, text: str, **more: Any) -> dict[str, Any]:
    return {"step": step, "host": host, "rate": None, "text": text, **more}
