"""Which base backups and which of the log have outlived their keeping; the newest base and the log behind it always stay."""

from __future__ import annotations

from datetime import datetime, timedelta

from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.recovery import base
from rollout.recovery.records import Base, log_file, ordinal, place, segment
from rollout.snapshots.retention import Removal


def plan(store: ObjectStore, env: Environment) -> list[Removal]:
    """Return what may go, by the store's clock: bases older than their tier is kept for, and log that no kept base needs."""
    now, found = store.now(), []
    for live in (d for d in env.databases if d.host_set == "live"):
        bases = list(base.every(store, live.host))
        if not bases:
            continue
        days = env.settings.snapshot_retention_days[live.tier]
        # A moment is restored from the base before it: the youngest of those that are too old is still needed.
        old = [one for one in bases if one.finished_at < now - timedelta(days=days)][:-1]
        for one in old:
            key = f"{place(one.host, one.system_identifier)}bases/{one.id}"
            why = f"a base backup older than {days} days, with a younger one that is too"
            found.append(Removal(f"{live.host} {one.id}", live.tier, why, [f"{key}.json", one.tar.key]))
        found += _log(store, live.host, [one for one in bases if one not in old], now)
    return found


def _log(store: ObjectStore, host: str, kept: list[Base], now: datetime) -> list[Removal]:
    first = kept[0]
    limit = ordinal(segment(first.start_lsn, first.timeline, first.segment_bytes), first.segment_bytes)
    prefix = place(host, first.system_identifier)
    keys = [
        one.key
        for one in map(log_file, store.keys(f"{prefix}log/"))
        if one and not one.is_history and ordinal(one.file, first.segment_bytes) < limit
    ]
    why = f"no base backup needs it ({now:%Y-%m-%d})"
    return [Removal(f"{host} log", None, why, keys)] if keys else []
