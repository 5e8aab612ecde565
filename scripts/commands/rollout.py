"""The road: deploy, finalize, rollback, status."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, DRY, ENV, JSON, confirmed, told
from rollout import environment, screen
from rollout.environment import Environment
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.order import PhaseName
from rollout.road import phase as phases
from rollout.snapshots import catalogue

PHASES: dict[str, PhaseName] = {"1": "1", "prepare": "1", "2": "2", "rollout": "2", "3": "3", "cutover": "3"}


@task(
    help={
        "env": ENV,
        "phase": "1 prepare, 2 rollout, 3 cutover",
        "dry_run": DRY,
        "confirm": CONFIRM,
        "debug": DEBUG,
    }
)
@told
def deploy(
    c: Context, env: str = "sandbox", phase: str = "", dry_run: bool = False, confirm: str = "", debug: bool = False
) -> None:
    """Run one phase of the rollout."""
    name = _phase(phase)
    found = environment.load(env)
    if not dry_run:
        confirmed(
            found,
            confirm,
            f"{phases.NAMES[name]} of {env}: {len(found.databases)} databases, {len(found.applications)} application processes",
        )
    _run(found, name, dry_run)


@task(
    help={
        "env": ENV,
        "dry_run": DRY,
        "confirm": "the environment's name: this is the point of no return",
        "debug": DEBUG,
    }
)
@told
def finalize(c: Context, env: str = "sandbox", dry_run: bool = False, confirm: str = "", debug: bool = False) -> None:
    """Contract: drop the old schema. No way back but a restore."""
    found = environment.load(env)
    if not dry_run:
        confirmed(
            found,
            confirm,
            f"finalize of {env} drops the old relations; after it only a restore leads back",
            always=True,
        )
    _run(found, "finalize", dry_run)


@task(
    help={
        "env": ENV,
        "dry_run": DRY,
        "to_snapshot": "bring this snapshot back instead, by its name: data written since then is not in it",
        "why": "the reason, for the checklist",
        "confirm": CONFIRM,
        "debug": DEBUG,
    }
)
@told
def rollback(
    c: Context, env: str = "sandbox", dry_run: bool = False, to_snapshot: str = "", why: str = "", confirm: str = "",
    debug: bool = False,
) -> None:  # fmt: skip
    """Take everything back: traffic first, then the schema."""
    found = environment.load(env)
    manifest = catalogue.find(ObjectStore(found.object_store), to_snapshot) if to_snapshot else None
    if not dry_run and manifest:
        since = f"{manifest.created_at:%Y-%m-%d %H:%M} UTC"
        words = f"rollback of {env} to {manifest.id}: what was written since {since} is not in it"
        confirmed(found, confirm, words, always=True)
    elif not dry_run:
        confirmed(found, confirm, f"rollback of {env}: all traffic to blue, then the schema")
    _run(found, "rollback", dry_run, why, manifest.id if manifest else "")


@task(help={"env": ENV, "dry_run": "the same: status changes nothing", "json": JSON, "debug": DEBUG})
@told
def status(
    c: Context, env: str = "sandbox", dry_run: bool = False, json: bool = False, debug: bool = False
) -> None:
    """Show where the run stands, as observed now."""
    screen.status(phases.status(environment.load(env)), as_json=json)


def _phase(name: str) -> PhaseName:
    if name.lower() not in PHASES:
        raise BadInput(f"unknown phase {name!r}" if name else "no phase named", limit="1 prepare, 2 rollout, 3 cutover",
                       next="invoke deploy --phase 1", page="runbooks/deploy.md")
    return PHASES[name.lower()]


def _run(env: Environment, phase: PhaseName, dry_run: bool, why: str = "", snapshot: str = "") -> None:
    view = screen.Screen(env, phase)
    view.head(phases.NAMES[phase] + (f" to {snapshot}" if snapshot else "") + (" (dry run)" if dry_run else ""))
    try:
        view.foot(phases.run(env, phase, view.line, dry_run=dry_run, why=why, snapshot=snapshot))
    finally:
        view.close()
