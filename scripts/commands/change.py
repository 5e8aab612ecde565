"""Changes: written, linted, looked at, rendered, and one of them taken back, discarded, paused or resumed."""

from __future__ import annotations

import json as jsons

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, ENV, JSON, known, told
from rollout import environment, screen
from rollout.engine import changes
from rollout.environment import TIERS
from rollout.review import lint as linter
from rollout.review import outlook, scaffold, script
from rollout.review import screen as pages

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


@task(help={"env": ENV, "tier": TIER, "json": JSON, "debug": DEBUG})
@told
def plan(c: Context, env: str = "sandbox", tier: str = "", json: bool = False, debug: bool = False) -> None:
    """Show what each change meets in each database."""
    tiers = _tiers(tier)
    hosts = outlook.of(environment.load(env), tiers)
    pages.outlook(env, hosts, as_json=json)
    if silent := [host["host"] for host in hosts if "error" in host]:
        raise Exit(f"failed: {', '.join(silent)} could not be asked\nnext: mend that, then repeat the command", code=1)
    refused = [change["change"] for host in hosts for change in host["changes"] if change["refused"]]
    if refused:
        which = ", ".join(dict.fromkeys(refused))
        raise Exit(f"refused: {which}\nnext: what stands behind `refused:`  see runbooks/deploy.md#not-carried", code=1)


@task(help={"env": NAMED, "change": f"{CHANGE}; default: all", "tier": TIER, "json": JSON, "debug": DEBUG})
@told
def lint(
    c: Context, env: str = "sandbox", change: str = "", tier: str = "", json: bool = False, debug: bool = False
) -> None:
    """Say what is wrong with changes, asking no database."""
    known(env)
    found = linter.findings(_tiers(tier), change)
    if json:
        print(jsons.dumps([finding.to_dict() for finding in found], indent=1))
    else:
        print("\n".join(str(finding) for finding in found) or "nothing found")
    if found:
        raise Exit(f"refused: {len(found)} findings\nnext: correct each where it stands", code=1)

@task(
    help={
        "env": ENV,
        "change": CHANGE,
        "host": "a live database of the change's tier; default: the first one",
        "debug": DEBUG,
    }
)
@told
def render(c: Context, env: str = "sandbox", change: str = "", host: str = "", debug: bool = False) -> None:
    """Print every statement that would run, for a reviewer."""
    found = changes.find(change)
    loaded = environment.load(env)
    databases = [d for d in loaded.databases if d.host_set == "live" and d.tier in {f.tier for f in found}]
    if host:
        scratch = {d.host: d for d in databases}
        databases = [scratch[scaffold.choice("host", host, tuple(scratch))]]
    tier = databases[0].tier
    print(script.render(databases[0], next(f for f in found if f.tier == tier)), end="")


def _tiers(tier: str) -> list[str]:
    return [scaffold.choice("tier", tier, TIERS)] if tier else list(TIERS)
