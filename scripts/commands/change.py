"""Changes: written, linted, looked at, rendered, and one of them taken back, discarded, paused or resumed."""

from __future__ import annotations

import json as jsons

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, JSON, known, told
from rollout import screen
from rollout.engine import changes
from rollout.environment import TIERS
from rollout.review import lint as linter
from rollout.review import scaffold

NAMED = "environment that the commands proposed next are for"
CHANGE = "the change's name, as its folder's"
TIER = f"only this tier: {', '.join(TIERS)}"


@task(
    help={
        "env": NAMED,
        "tier": f"where it belongs: {', '.join(TIERS)}",
        "name": "number and words: 005_orders",
        "table": "schema.name, as the catalogue spells it, unquoted",
        "kind": f"{', '.join(scaffold.KINDS)}",
        "dry_run": "print the files; write nothing",
        "debug": DEBUG,
    }
)
@told
def new(
    c: Context, env: str = "sandbox", tier: str = "", name: str = "", table: str = "", kind: str = "rewrite",
    dry_run: bool = False, debug: bool = False,
) -> None:  # fmt: skip
    """Write a change's folder, and its line in the plan."""
    known(env)
    draft = scaffold.draft(tier, name, table, kind)
    for file, text in draft.files.items():
        print(f"{changes.short(draft.folder / file)}" + (f"\n\n{text}" if dry_run else ""))
    if dry_run:
        print("dry run: nothing was changed")
        return
    draft.write()
    print(f"{changes.short(draft.folder.parent / 'plan.yml')}: {name} is its last change")
    print(screen.for_environment(f"next: edit it, then  invoke change.lint --change {name}", env))


@task(help={"env": NAMED, "change": f"{CHANGE}; default: all", "tier": TIER, "json": JSON, "debug": DEBUG})
@told
def lint(
    c: Context, env: str = "sandbox", change: str = "", tier: str = "", json: bool = False, debug: bool = False
) -> None:
    """Say what is wrong with changes, asking no database."""
    known(env)
    found = linter.findings([scaffold.choice("tier", tier, TIERS)] if tier else TIERS, change)
    if json:
        print(jsons.dumps([finding.to_dict() for finding in found], indent=1))
    else:
        print("\n".join(str(finding) for finding in found) or "nothing found")
    if found:
        raise Exit(f"refused: {len(found)} findings\nnext: correct each where it stands", code=1)
