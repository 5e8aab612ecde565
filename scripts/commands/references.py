"""References between databases: what points at nothing or at another tenant, and its mending."""

from __future__ import annotations

import json as jsons
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, DRY, ENV, JSON, confirmed, told
from rollout import environment, screen
from rollout.objectstore import ObjectStore
from rollout.references import mending
from rollout.references.mending import Mended


@task(help={"env": ENV, "json": JSON, "debug": DEBUG})
@told
def scan(c: Context, env: str = "sandbox", json: bool = False, debug: bool = False) -> None:
    """Say which references point at nothing, and what a mend does.

    Exit 1 when there are some.
    """
    found = mending.look(environment.load(env))
    _print(found, {}, as_json=json)
    if found:
        words = "next: invoke references.mend --by NAME --why TEXT  see runbooks/references.md"
        wrong = sum(one.emptied + one.kept for one in found)
        raise Exit(screen.for_environment(f"failed: {wrong:,} rows point at nothing or at another tenant\n{words}", env), code=1)


@task(
    help={
        "env": ENV,
        "by": "who says so, by name",
        "why": "what is known of these rows, and why this is right",
        "confirm": CONFIRM,
        "dry_run": DRY,
        "json": JSON,
        "debug": DEBUG,
    }
)
@told
def mend(
    c: Context, env: str = "sandbox", by: str = "", why: str = "", confirm: str = "", dry_run: bool = False,
    json: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Empty references that point at nothing, or keep them.

    No row is deleted, and each that is changed is kept as it was.
    """
    loaded = environment.load(env)
    if dry_run:
        _print(mending.look(loaded), {}, as_json=json)
        return
    confirmed(loaded, confirm, f"empty the references of {env} that point at nothing")
    done, after = mending.mend(loaded, ObjectStore(loaded.object_store), by, why)
    _print(done, after, as_json=json)


def _print(found: list[Mended], after: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(jsons.dumps({"references": [one.to_dict() for one in found], "after": after}, indent=1))
        return
    width = max((len(one.reference) for one in found), default=0)
    for one in found:
        rows = f"{one.emptied:,} rows to empty" if one.emptied else f"{one.kept:,} rows to keep as they are"
        words = rows.replace(" to empty", " emptied").replace(" to keep", " kept") if after else rows
        print(f"{one.host:14} {one.reference:{width}}  {words}")
    if not found:
        print("no reference points at nothing or at another tenant")
    if after:
        print(f"{after['scanned_rows']:,} references scanned again: {after['wrong_rows']:,} wrong, {after['kept_rows']:,} kept")
        print("next: invoke checklist")
