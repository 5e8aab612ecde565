"""The watch: look after look for some hours, kept in the object store, so that the same command goes on after an interruption.

Only time at which somebody watched counts. A gap is noted and made up for: the watch ends later by as much.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from rollout import lease, runs
from rollout.environment import Environment
from rollout.errors import Failed, Refused
from rollout.lease import Lease
from rollout.monitoring import declaration, jobs
from rollout.monitoring import look as looks
from rollout.objectstore import AlreadyExists, Conflict, NotFound, ObjectStore

KEY = "monitor/watch.json"
Show = Callable[[dict[str, Any]], None]


class Progress(BaseModel):
    """How far a watch is. `run`: which rollout it is of ("" for none); `lease`: who watches now."""

    model_config = ConfigDict(extra="forbid")

    run: str
    hours: float
    began: AwareDatetime
    seen: AwareDatetime
    watched_seconds: float = 0.0
    looks: int = 0
    looks_critical: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0
    finished: bool = False
    lease: Lease | None = None

    @property
    def left_seconds(self) -> float:
        """Seconds still to be watched."""
        return max(0.0, self.hours * 3600 - self.watched_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values, without the lease."""
        return {**self.model_dump(mode="json", exclude={"lease"}), "left_seconds": round(self.left_seconds, 1)}


@dataclass
class Clock:
    """Time as a watch sees it: a test may move it."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def once(environment: Environment, store: ObjectStore) -> dict[str, Any]:
    """Do one pass and return one look; no watch is begun or gone on with."""
    return looks.look(environment, store, ran=jobs.run(environment))


def watch(environment: Environment, store: ObjectStore, hours: float, show: Show, clock: Clock | None = None) -> dict[str, Any]:
    """Watch for `hours` in all, going on with a watch of the same run that was interrupted; return the last look.

    Every look begins with a pass of the jobs. A store that is away for a while does not end it. Raises Refused when
    somebody else watches.
    """
    clock, settings = clock or Clock(), declaration.load().watch
    kept = _Kept(store, _resume(store, hours))
    window: looks.Window | None = None
    before = clock.monotonic()
    while True:
        began = clock.monotonic()
        ran = jobs.run(environment)
        seen = looks.look(environment, store, ran=ran, window=window)
        window = looks.Window.open(environment)
        now = clock.monotonic()
        kept.count(now - before, critical=bool(seen["open"]))
        before = now
        seen["watch"] = {**kept.progress.to_dict(), "store_error": kept.error}
        show(seen)
        if kept.progress.finished:
            return seen
        clock.sleep(max(0.0, min(settings.every_seconds - (now - began), kept.progress.left_seconds)))


class _Kept:
    """A watch's progress as the store has it."""

    def __init__(self, store: ObjectStore, found: tuple[Progress, str]) -> None:
        self.store, self.error = store, ""
        self.progress, self.etag = found

    def count(self, seconds: float, *, critical: bool) -> None:
        """Count a look and the seconds up to it, and write that down; raise Refused when another has the watch."""
        p = self.progress
        p.watched_seconds, p.looks, p.looks_critical = p.watched_seconds + seconds, p.looks + 1, p.looks_critical + critical
        p.finished = p.left_seconds == 0
        try:
            p.seen = self.store.now()
            p.lease = None if p.finished or p.lease is None else p.lease.renewed(p.seen)
            self.etag = self.store.replace(KEY, p.model_dump_json().encode(), self.etag)
            self.error = ""
        except Conflict:
            raise _taken(None) from None
        except Failed as error:
            self.error = error.observed


def _resume(store: ObjectStore, hours: float) -> tuple[Progress, str]:
    """Take the watch: begin one, or go on with the one that was left; raise Refused while another is at it."""
    now, run = store.now(), _newest_run(store)
    mine = lease.take(now, operator=getpass.getuser(), phase="monitor", seconds=declaration.load().watch.lease_seconds)
    new = Progress(run=run, hours=hours, began=now, seen=now, lease=mine)
    try:
        body, etag = store.read(KEY)
    except NotFound:
        try:
            return new, store.create(KEY, new.model_dump_json().encode())
        except AlreadyExists:
            raise _taken(None) from None
    found = Progress.model_validate_json(body)
    if found.lease is not None and not found.lease.is_free(now):
        raise _taken(found.lease)
    if not found.finished and found.run == run:
        gap = (now - found.seen).total_seconds()
        missed = {"gaps": found.gaps + 1, "gap_seconds": found.gap_seconds + gap}
        new = found.model_copy(update={"hours": hours, "lease": mine, **missed})
    try:
        return new, store.replace(KEY, new.model_dump_json().encode(), etag)
    except Conflict:
        raise _taken(None) from None


def _newest_run(store: ObjectStore) -> str:
    state = runs.current(store)
    return state.run if state else ""


def _taken(by: Lease | None) -> Refused:
    who = f"{by.operator} on {by.host} (pid {by.pid}) since {by.since:%H:%M} UTC" if by else "somebody else"
    return Refused(
        f"{who} watches already", limit="one watch an environment", next="invoke monitor --hours 0 takes one look",
        page="runbooks/monitoring.md#watch",
    )  # fmt: skip
