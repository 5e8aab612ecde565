"""The state as found: baselines and data, filled in once, and afresh when that was interrupted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from rollout import environment
from rollout.errors import BadInput
from rollout.sandbox import record
from rollout.sandbox.fleet import Fleet
from rollout.sandbox.layout import Layout
from rollout.sandbox.record import Record, Seeding

SCALE = 1.0
SEED = 1


def check(known: Record | None, scale: float | None, seed: int | None) -> None:
    """Raise BadInput when another scale or seed is asked for than the sandbox was filled with, or one makes no sense."""
    if scale is not None and not 0 < scale <= 1000:
        raise BadInput(f"scale {scale:g}", limit="more than 0, at most 1000", next="choose another --scale")
    done = known.seeding if known else None
    if done is None or not done.complete:
        return
    for word, asked, is_ in (("scale", scale, done.scale), ("seed", seed, done.seed)):
        if asked is not None and asked != is_:
            raise BadInput(
                f"{word} {asked:g} asked for, this sandbox is filled with {word} {is_:g}",
                next="leave it out, or invoke sandbox.down --purge first",
            )


def ensure(
    place: Layout, known: Record, servers: Fleet, scale: float | None, seed: int | None, say: Callable[[str], None]
) -> None:
    """Apply the baselines and fill the live databases and Redis, unless that is done and recorded."""
    if known.seeding is not None and known.seeding.complete:
        return
    if known.seeding is not None:
        # A filling that ended half way cannot be told from a whole one row by row: begin again.
        say("filling was interrupted: starting it afresh")
        for server in servers.postgres:
            server.recreate_database()
        for redis in servers.redis:
            redis.flush()
    begun = Seeding(scale=SCALE if scale is None else scale, seed=SEED if seed is None else seed, complete=False)
    record.write(place, known.model_copy(update={"seeding": begun}))
    fill(place, begun, say)
    record.write(place, known.model_copy(update={"seeding": begun.model_copy(update={"complete": True})}))


def fill(place: Layout, wanted: Seeding, say: Callable[[str], None]) -> None:
    """Make the state as found in the live databases and Redis."""
    from rollout import (
        seed,  # not at the top: a sandbox can be shown and stopped without it
    )

    with _meaning(place.name):
        here = environment.load("sandbox")
    for database in here.databases:
        if database.host_set == "live":
            seed.baseline(database)
    counts = seed.fill(here, scale=wanted.scale, seed=wanted.seed, progress=say)
    say(f"filled {sum(counts.values()):,} rows in {len(counts)} tables")


@contextlib.contextmanager
def _meaning(name: str) -> Iterator[None]:
    before = os.environ.get("ROLLOUT_SANDBOX")
    os.environ["ROLLOUT_SANDBOX"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["ROLLOUT_SANDBOX"]
        else:
            os.environ["ROLLOUT_SANDBOX"] = before
