"""The commands. Thin: check the flags, show, confirm, run a phase, exit with its verdict; the work is in scripts/rollout."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from rollout import checklist as checklists
from rollout import environment, order, runs, screen
from rollout.environment import Environment
from rollout.errors import BadInput, RolloutError
from rollout.load import verify
from rollout.objectstore import NotFound, ObjectStore
from rollout.order import PhaseName
from rollout.road import phase as phases
from rollout.sandbox import lifecycle

RUN_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{4}Z-[0-9a-f]{4}")
PHASES = {"1": "1", "prepare": "1", "2": "2", "rollout": "2", "3": "3", "cutover": "3"}
ENV = "environment: sandbox (default), staging, production"
DRY = "show what would be done; change nothing"
DEBUG = "show the trace of an error"


def _told(function: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into one line and an exit code (1 refused or failed, 2 bad input), Ctrl-C into 130."""

    @wraps(function)
    def told(*args: Any, **options: Any) -> None:
        # SIGTERM (a closing terminal, a service manager) is to end us as Ctrl-C does: orderly, and to be repeated.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            function(*args, **options)
        except RolloutError as error:
            if options.get("debug"):
                traceback.print_exc()
            raise Exit(screen.for_environment(str(error), str(options.get("env", ""))), code=error.exit_code) from None
        except KeyboardInterrupt:
            raise Exit(
                "interrupted\nnext: the same command goes on from here, or  invoke rollback", code=130
            ) from None
        except Exception as error:
            if options.get("debug"):
                raise
            words = (str(error).strip().splitlines() or ["no message"])[0]
            raise Exit(
                f"failed: {type(error).__name__}: {words}\nnext: the same command with --debug shows the trace", code=1
            ) from None

    return told


def _phase(name: str) -> PhaseName:
    if name.lower() not in PHASES:
        raise BadInput(f"unknown phase {name!r}" if name else "no phase named", limit="1 prepare, 2 rollout, 3 cutover",
                       next="invoke deploy --phase 1", page="runbooks/deploy.md")
    return PHASES[name.lower()]  # type: ignore[return-value]


def _confirm(env: Environment, confirm: str, what: str, *, always: bool = False) -> None:
    """Ask for the environment's name, typed, where a mistake is dear; `--confirm NAME` answers for scripts."""
    if (env.name == "sandbox" and not always) or confirm == env.name:
        return
    if confirm:
        raise BadInput(
            f"--confirm says {confirm!r}", limit=f"the environment's name, {env.name}", next=f"--confirm {env.name}"
        )
    if not sys.stdin.isatty():
        raise BadInput(f"not confirmed: {what}", next=f"add --confirm {env.name}", page="runbooks/deploy.md#confirm")
    print(what)
    if input(f"type the environment's name to go on ({env.name}): ").strip() != env.name:
        raise BadInput("not confirmed; nothing was done", next="repeat the command and type the name")


def _run(env: Environment, phase: PhaseName, dry_run: bool, why: str = "") -> None:
    view = screen.Screen(env, phase)
    view.head(phases.NAMES[phase] + (" (dry run)" if dry_run else ""))
    try:
        view.foot(phases.run(env, phase, view.line, dry_run=dry_run, why=why))
    finally:
        view.close()


@task(
    help={
        "env": ENV,
        "phase": "1 prepare, 2 rollout, 3 cutover",
        "dry_run": DRY,
        "confirm": "the environment's name, for scripts",
        "debug": DEBUG,
    }
)
@_told
def deploy(
    c: Context, env: str = "sandbox", phase: str = "", dry_run: bool = False, confirm: str = "", debug: bool = False
) -> None:
    """Run one phase of the rollout."""
    name = _phase(phase)
    found = environment.load(env)
    if not dry_run:
        _confirm(
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
@_told
def finalize(c: Context, env: str = "sandbox", dry_run: bool = False, confirm: str = "", debug: bool = False) -> None:
    """Contract: drop the old schema. No way back but a restore."""
    found = environment.load(env)
    if not dry_run:
        _confirm(
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
        "why": "the reason, for the checklist",
        "confirm": "the environment's name, for scripts",
        "debug": DEBUG,
    }
)
@_told
def rollback(
    c: Context, env: str = "sandbox", dry_run: bool = False, why: str = "", confirm: str = "", debug: bool = False
) -> None:
    """Take everything back: traffic first, then the schema."""
    found = environment.load(env)
    if not dry_run:
        _confirm(found, confirm, f"rollback of {env}: all traffic to blue, then the schema")
    _run(found, "rollback", dry_run, why)


@task(help={"env": ENV, "dry_run": "the same: status changes nothing", "json": "as JSON", "debug": DEBUG})
@_told
def status(
    c: Context, env: str = "sandbox", dry_run: bool = False, json: bool = False, debug: bool = False
) -> None:
    """Show where the run stands, as observed now."""
    screen.status(phases.status(environment.load(env)), as_json=json)


@task(
    help={
        "env": ENV,
        "dry_run": "print it, write no files",
        "run": "a run id; default: the newest",
        "json": "print the JSON",
        "debug": DEBUG,
    }
)
@_told
def checklist(
    c: Context,
    env: str = "sandbox",
    dry_run: bool = False,
    run: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Render the checklist of a run from what it measured."""
    found = environment.load(env)
    store = ObjectStore(found.object_store)
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
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if dry_run else Path(found.artifacts) / state.run
        paths = checklists.write(found, store, state, folder)
        print(paths["json" if json else "markdown"].read_text(), end="")


@task(
    help={
        "name": "which sandbox (default: ROLLOUT_SANDBOX, or default)",
        "scale": "1 (the default) is 100,000 messages and 200,000 jobs",
        "seed": "of the random data (default 1)",
        "base_port": "the first port to use; default: free ones, kept once chosen",
        "path_binaries": "use Postgres, Redis and HAProxy found on PATH",
        "debug": DEBUG,
    }
)
@_told
def sandbox_up(
    c: Context,
    name: str = "",
    scale: str = "",
    seed: str = "",
    base_port: str = "",
    path_binaries: bool = False,
    debug: bool = False,
) -> None:
    """Start the sandbox (or heal it); seed it the first time."""
    began = time.monotonic()
    lifecycle.up(
        _sandbox(name),
        scale=_number("scale", scale) if scale else None,
        seed=int(_number("seed", seed)) if seed else None,
        base_port=int(_number("base-port", base_port)) if base_port else None,
        use_path_binaries=path_binaries,
        say=print,
    )
    print(f"sandbox {_sandbox(name)} is up ({time.monotonic() - began:.1f} s)\nnext: invoke deploy --phase 1")


@task(help={"name": "which sandbox", "purge": "delete its data as well", "debug": DEBUG})
@_told
def sandbox_down(c: Context, name: str = "", purge: bool = False, debug: bool = False) -> None:
    """Stop every process of the sandbox."""
    stopped = lifecycle.down(_sandbox(name), purge=purge, say=print)
    print(
        f"sandbox {_sandbox(name)} is down: {len(stopped)} processes stopped"
        + ("; its data is deleted" if purge else "")
    )


@task(help={"name": "which sandbox", "json": "as JSON", "debug": DEBUG})
@_told
def sandbox_status(c: Context, name: str = "", json: bool = False, debug: bool = False) -> None:
    """Show every server of the sandbox and whether it answers."""
    screen.servers([s.to_dict() for s in lifecycle.status(_sandbox(name))], as_json=json)


@task(
    help={
        "env": ENV,
        "rate": "requests a second",
        "seconds": "how long; 0 is until Ctrl-C",
        "seed": "of the requests",
        "into": "folder for journal and results",
        "debug": DEBUG,
    }
)
@_told
def sandbox_load(
    c: Context,
    env: str = "sandbox",
    rate: str = "40",
    seconds: str = "0",
    seed: str = "1",
    into: str = "",
    debug: bool = False,
) -> None:
    """Send steady load through the balancer; journal each write."""
    if _number("rate", rate) == 0:
        raise BadInput("--rate 0", limit="more than 0", next="--rate 40")
    length = ["--seconds", seconds] if _number("seconds", seconds) else []
    found = environment.load(env)
    folder = Path(into) if into else Path(found.artifacts) / f"load-{time.strftime('%Y%m%dT%H%M%S')}"
    environment.save(found, folder / "environment.json")
    argv = [
        sys.executable,
        "-m",
        "rollout.load",
        "--url",
        found.load_balancer.url,
        "--rate",
        str(_number("rate", rate)),
        "--seed",
        str(int(_number("seed", seed))),
        "--environment",
        str(folder / "environment.json"),
        "--into",
        str(folder),
    ]
    argv += length
    print(f"journal and results: {folder}\nafter it: invoke sandbox.verify --into {folder}", flush=True)
    os.execv(argv[0], argv)  # noqa: S606  (its own process: Ctrl-C and exit status are its own)


@task(help={"env": ENV, "into": "the folder that sandbox.load named", "debug": DEBUG})
@_told
def sandbox_verify(c: Context, env: str = "sandbox", into: str = "", debug: bool = False) -> None:
    """Look up every write that a load was promised."""
    found = environment.load(env)
    folders = sorted(p.parent for p in Path(found.artifacts).glob("load-*/journal.jsonl"))
    if not into and not folders:
        raise BadInput("no load has left a journal", next="invoke sandbox.load")
    if into and not (Path(into) / "journal.jsonl").is_file():
        raise BadInput(f"{into} holds no journal of a load", next="give the folder that sandbox.load named")
    verified = verify(found, Path(into) if into else folders[-1])
    print(json.dumps(verified.to_dict(), indent=1))
    if not verified.passed:
        raise Exit("failed: not every acknowledged write was found once", code=1)


def _sandbox(name: str) -> str:
    return name or environment.sandbox_name()


def _number(flag: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadInput(f"--{flag} {value!r} is no number", next=f"--{flag} 1") from None
    if number < 0 or not math.isfinite(number):
        raise BadInput(f"--{flag} {value}", limit="0 or more", next=f"--{flag} 1")
    return number


namespace = Collection(deploy, finalize, rollback, status, checklist)
sandbox = Collection("sandbox")
sandbox.add_task(sandbox_up, name="up")
sandbox.add_task(sandbox_down, name="down")
sandbox.add_task(sandbox_status, name="status")
sandbox.add_task(sandbox_load, name="load")
sandbox.add_task(sandbox_verify, name="verify")
namespace.add_collection(sandbox)
