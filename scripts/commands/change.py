"""Changes: written, linted, looked at, rendered, and one of them taken back, discarded, paused or resumed."""

from __future__ import annotations

import json as jsons

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import CONFIRM, DEBUG, DRY, ENV, JSON, confirmed, known, told
from rollout import environment, screen
from rollout.engine import changes
from rollout.environment import TIERS
from rollout.review import lint as linter
from rollout.review import outlook, scaffold, script
from rollout.review import screen as pages
from rollout.road import pausing, single

NAMED = "environment that the commands proposed next are for"
CHANGE = "the change's name, as its folder's"
WHY = "the reason, for the journal"
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

@task(help={"env": ENV, "change": CHANGE, "dry_run": DRY, "why": WHY, "confirm": CONFIRM, "debug": DEBUG})
@told
def revert(
    c: Context, env: str = "sandbox", change: str = "", dry_run: bool = False, why: str = "", confirm: str = "",
    debug: bool = False,
) -> None:  # fmt: skip
    """Take one swapped change back, while blue has all traffic."""
    _single(env, change, "revert", dry_run=dry_run, why=why, confirm=confirm)


@task(help={"env": ENV, "change": CHANGE, "dry_run": DRY, "why": WHY, "confirm": CONFIRM, "debug": DEBUG})
@told
def discard(
    c: Context, env: str = "sandbox", change: str = "", dry_run: bool = False, why: str = "", confirm: str = "",
    debug: bool = False,
) -> None:  # fmt: skip
    """Drop what expand made of a change that is not swapped."""
    _single(env, change, "discard", dry_run=dry_run, why=why, confirm=confirm)


@task(help={"env": ENV, "change": CHANGE, "dry_run": DRY, "why": WHY, "debug": DEBUG})
@told
def pause(
    c: Context, env: str = "sandbox", change: str = "", dry_run: bool = False, why: str = "", debug: bool = False
) -> None:
    """Have a change's copying wait until it is resumed."""
    changes.find(change)
    loaded = environment.load(env)
    pausing.pause(loaded, change, screen.Screen(loaded, "2").line, why=why, dry_run=dry_run)
    print(_after(f"next: invoke change.resume --change {change}", env, dry_run))


@task(help={"env": ENV, "change": CHANGE, "dry_run": DRY, "debug": DEBUG})
@told
def resume(c: Context, env: str = "sandbox", change: str = "", dry_run: bool = False, debug: bool = False) -> None:
    """Let a paused change's copying go on."""
    changes.find(change)
    loaded = environment.load(env)
    pausing.resume(loaded, change, screen.Screen(loaded, "2").line, dry_run=dry_run)
    print(_after("next: invoke status", env, dry_run))


def _single(env: str, change: str, act: single.Act, *, dry_run: bool, why: str, confirm: str) -> None:
    changes.find(change)
    loaded = environment.load(env)
    if not dry_run:
        confirmed(loaded, confirm, f"{act} {change} of {env}")
    view = screen.Screen(loaded, "rollback")
    view.head(f"change.{act} {change}" + (" (dry run)" if dry_run else ""))
    try:
        ended = single.run(loaded, change, act, view.line, why=why, dry_run=dry_run)
    finally:
        view.close()
    if dry_run or not ended.hosts:
        print(_after(f"nothing to be {single.DONE[act]} ({ended.seconds:.1f} s)", env, dry_run))
        return
    lossless = ", lossless" if act == "revert" else ""
    loss = f", {ended.rejects} rows are left in the reject ledger alone" if ended.rejects else lossless
    print(f"{single.DONE[act]} on {', '.join(ended.hosts)} in {ended.seconds:.1f} s{loss}")
    following = "invoke deploy --phase 2" if act == "revert" else "invoke status"
    print(screen.for_environment(f"run {ended.run}\nnext: {following}", env))


def _after(words: str, env: str, dry_run: bool) -> str:
    return "dry run: nothing was changed" if dry_run else screen.for_environment(words, env)


def _tiers(tier: str) -> list[str]:
    return [scaffold.choice("tier", tier, TIERS)] if tier else list(TIERS)
