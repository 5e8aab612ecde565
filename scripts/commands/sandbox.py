"""The sandbox: up, down, status, load, verify."""

from __future__ import annotations

import json as jsons
import os
import sys
import time
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, ENV, JSON, number, told
from rollout import environment, screen
from rollout import load as loads
from rollout.errors import BadInput
from rollout.sandbox import lifecycle


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
@told
def up(
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
        scale=number("scale", scale) if scale else None,
        seed=int(number("seed", seed)) if seed else None,
        base_port=int(number("base-port", base_port)) if base_port else None,
        use_path_binaries=path_binaries,
        say=print,
    )
    print(f"sandbox {_sandbox(name)} is up ({time.monotonic() - began:.1f} s)\nnext: invoke deploy --phase 1")


@task(help={"name": "which sandbox", "purge": "delete its data as well", "debug": DEBUG})
@told
def down(c: Context, name: str = "", purge: bool = False, debug: bool = False) -> None:
    """Stop every process of the sandbox."""
    stopped = lifecycle.down(_sandbox(name), purge=purge, say=print)
    print(
        f"sandbox {_sandbox(name)} is down: {len(stopped)} processes stopped"
        + ("; its data is deleted" if purge else "")
    )


@task(help={"name": "which sandbox", "json": JSON, "debug": DEBUG})
@told
def status(c: Context, name: str = "", json: bool = False, debug: bool = False) -> None:
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
@told
def load(
    c: Context,
    env: str = "sandbox",
    rate: str = "40",
    seconds: str = "0",
    seed: str = "1",
    into: str = "",
    debug: bool = False,
) -> None:
    """Send steady load through the balancer; journal each write."""
    if number("rate", rate) == 0:
        raise BadInput("--rate 0", limit="more than 0", next="--rate 40")
    length = ["--seconds", seconds] if number("seconds", seconds) else []
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
        str(number("rate", rate)),
        "--seed",
        str(int(number("seed", seed))),
        "--environment",
        str(folder / "environment.json"),
        "--into",
        str(folder),
    ]
    argv += length
    print(f"journal and results: {folder}\nafter it: invoke sandbox.verify --into {folder}", flush=True)
    os.execv(argv[0], argv)  # noqa: S606  (its own process: Ctrl-C and exit status are its own)


@task(help={"env": ENV, "into": "the folder that sandbox.load named", "debug": DEBUG})
@told
def verify(c: Context, env: str = "sandbox", into: str = "", debug: bool = False) -> None:
    """Look up every write that a load was promised."""
    found = environment.load(env)
    folders = sorted(p.parent for p in Path(found.artifacts).glob("load-*/journal.jsonl"))
    if not into and not folders:
        raise BadInput("no load has left a journal", next="invoke sandbox.load")
    if into and not (Path(into) / "journal.jsonl").is_file():
        raise BadInput(f"{into} holds no journal of a load", next="give the folder that sandbox.load named")
    verified = loads.verify(found, Path(into) if into else folders[-1])
    print(jsons.dumps(verified.to_dict(), indent=1))
    if not verified.passed:
        raise Exit("failed: not every acknowledged write was found once", code=1)


def _sandbox(name: str) -> str:
    return name or environment.sandbox_name()
