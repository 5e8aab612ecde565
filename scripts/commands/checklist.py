"""The checklist: shown, and attested where only a person can say."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from commands.shared import DEBUG, ENV, told
from rollout import checklist, environment, order, runs
from rollout.environment import Environment
from rollout.errors import BadInput
from rollout.objectstore import NotFound, ObjectStore
from rollout.order import RunState

RUN_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{4}Z-[0-9a-f]{4}")
RUN = "a run id; default: the newest"


@task(
    help={
        "env": ENV,
        "dry_run": "print it, write no files",
        "run": RUN,
        "format": "md (default), html or json",
        "json": "the same as --format json",
        "recorded": "only what the run recorded; else row security, sessions, roles and trails are looked at again, now",
        "debug": DEBUG,
    }
)
@told
def show(
    c: Context, env: str = "sandbox", dry_run: bool = False, run: str = "", format: str = "", json: bool = False,
    recorded: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Render the checklist of a run from what it measured."""
    wanted = format or ("json" if json else "md")
    if wanted not in checklist.FORMATS or (json and wanted != "json"):
        raise BadInput(f"unknown format {wanted!r}", limit="md, html or json", next="invoke checklist --format html")
    found = environment.load(env)
    store = ObjectStore(found.object_store)
    state = _run(store, run)
    newest = runs.current(store)
    fresh = not recorded and newest is not None and newest.run == state.run
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if dry_run else Path(found.artifacts) / state.run
        paths = checklist.write(found, store, state, folder, fresh=fresh)
        print(paths[wanted].read_text(), end="")


@task(
    help={
        "env": ENV,
        "item": "its id, as the checklist names it",
        "by": "who says so, by name",
        "note": "what was seen, and where",
        "run": RUN,
        "debug": DEBUG,
    }
)
@told
def attest(
    c: Context, item: str = "", by: str = "", note: str = "", env: str = "sandbox", run: str = "", debug: bool = False
) -> None:
    """Add a person's word on an item to the journal of a run."""
    found: Environment = environment.load(env)
    store = ObjectStore(found.object_store)
    state = _run(store, run)
    said = checklist.attest(store, state.run, item, by, note)
    print(f"{said.item} attested by {said.by} ({said.operator}) at {said.at}: {said.note}\nrun {state.run}")


def _run(store: ObjectStore, run: str) -> RunState:
    """Return the named run, or the newest; raise BadInput when there is none."""
    if run and not RUN_ID.fullmatch(run):
        raise BadInput(f"{run!r} is no run id", limit="as in 2026-01-31T0400Z-1a2b", next="invoke status names the newest")
    try:
        state = runs.read(store, run) if run else runs.current(store)
    except NotFound:
        raise BadInput(f"unknown run {run!r}", next="invoke status names the newest") from None
    if state is None:
        raise BadInput(
            "no run has begun in this environment", next=order.COMMANDS["1"], page="runbooks/deploy.md#phase-1"
        )
    return state
