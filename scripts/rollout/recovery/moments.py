"""A tier as it was at a moment, as an ordinary snapshot: so it is restored, compared and exchanged as every other one."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rollout.environment import Database, Environment, Tier
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.recovery import archive, log, restoring
from rollout.snapshots import checking
from rollout.snapshots import manifest as manifests
from rollout.snapshots.database import take_database
from rollout.snapshots.records import DatabaseSnapshot, Manifest
from rollout.snapshots.taking import marker_name, options, reporter

Show = Callable[[dict[str, Any]], None]
PAGE = "runbooks/restore.md#point-in-time"


def parse(text: str) -> datetime:
    """Return the moment that `--to` names; raise BadInput for none, or one without a time zone."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        example = "such as 2026-11-22 10:15:00+00:00"
        raise BadInput(f"--to {text!r} is no moment", limit=example, next="name one so", page=PAGE) from None
    if found.tzinfo is None:
        raise BadInput(f"--to {text!r} names no time zone", limit=f"such as {text.strip()}+00:00", next="add it", page=PAGE)
    return found.astimezone(UTC)


def snapshot_at(
    env: Environment, store: ObjectStore, tier: Tier, target: datetime, show: Show, *, who: str, why: str = ""
) -> Manifest:
    """Recover the tier's servers to a moment, one after the other, snapshot them, and return the manifest."""
    manifests.require_same_clock(store)
    prefix = manifests.new_prefix()
    taken = [_one(env, store, live, target, prefix, show) for live in env.tier(tier)]
    words = f"as of {target:%Y-%m-%d %H:%M:%S.%f}+00" + (f": {why}" if why else "")
    about = {"environment": env.name, "who": who, "why": words, "marker": marker_name(prefix)}
    return manifests.commit(store, prefix, taken, [], **about)


def _one(
    env: Environment, store: ObjectStore, live: Database, target: datetime, prefix: str, show: Show
) -> DatabaseSnapshot:
    began, say = time.monotonic(), reporter("recover", live.host, show)
    if not log.reaches(store, live.host, target):
        show({"step": "recover", "host": live.host, "text": "waiting for the receiver to store the last segment"})
        archive.catch_up(live, store, archive.slot_name(env.name, live.host))
    with restoring.recover(store, live.host, target, say) as recovered:
        seconds = time.monotonic() - began
        words = f"done: {live.host} is back as of {target:%H:%M:%S} UTC, from base {recovered.base.id}"
        show({"step": "recover", "host": live.host, "rate": seconds, "text": words})
        # As the runner, as ever: what a superuser made here could not be restored by anybody else.
        here = live.model_copy(update={"address": recovered.server.address, "port": recovered.server.port})
        began = time.monotonic()
        taken = take_database(here, store, prefix, say, **options(env, live.tier, prefix))
        words = f"done: {taken.contents.rows:,} rows of then"
        show({"step": "snapshot", "host": live.host, "rate": time.monotonic() - began, "text": words})
        return taken


def prove(env: Environment, store: ObjectStore, live: Database, show: Show) -> tuple[float, list[str], datetime]:
    """Recover a server as far as its log goes; return the seconds until it answered, what is wrong with it, and until when."""
    began, say = time.monotonic(), reporter("verify", live.host, show)
    archive.catch_up(live, store, archive.slot_name(env.name, live.host))
    with restoring.recover(store, live.host, None, say) as recovered:
        seconds = time.monotonic() - began
        found = checking.check(recovered.server.database(live.host, live.tier, live.dbname), say, jobs=env.settings.snapshot_jobs)
        return round(seconds, 3), found, recovered.covered.until
