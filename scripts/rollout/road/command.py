"""Running a phase: its playbook in a process of its own, its progress on the screen, its verdict in the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout import environment as environments
from rollout import progress
from rollout.children import die_with_parent
from rollout.environment import ROOT, Environment
from rollout.errors import BadInput, Failed, Fenced, Refused, RolloutError
from rollout.road.context import Request

END_SECONDS = 15.0
KINDS: dict[str, type[RolloutError]] = {c.__name__: c for c in (BadInput, Refused, Failed, Fenced)}
Show = Callable[[dict[str, Any]], None]


def play(
    environment: Environment, playbook: str, request: Request, show: Show, *, lost: threading.Event | None = None
) -> None:
    """Run playbooks/<playbook>.yml to its end, showing progress; raise what the first failing step raised.

    The playbook ends with this process, whatever ends it: it must not go on without a lease. Ctrl-C ends it at the
    next step boundary or in the middle of a step; either way the same command goes on from the ledger.
    """
    folder = Path(request.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.json").unlink(missing_ok=True)
    (folder / "progress.jsonl").unlink(missing_ok=True)
    extra = {"rollout_request": request.to_dict()}
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        str(ROOT / "playbooks" / f"{playbook}.yml"),
        "-e",
        json.dumps(extra),
    ]
    for source in environments.inventory_sources(environment.name):
        argv += ["-i", str(source)]
    if request.check:
        argv.append("--check")
    ended = threading.Event()
    with (folder / "ansible.log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
            env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )
    waiter = threading.Thread(target=_await, args=(process, ended, lost), daemon=True)
    waiter.start()
    try:
        for line in progress.follow(folder / "progress.jsonl", ended.is_set):
            show(line)
    finally:
        _stop(process)
    if lost is not None and lost.is_set():
        raise Fenced(
            "another command took this environment over", next="invoke status", page="runbooks/deploy.md#lease"
        )
    if process.returncode != 0:
        raise _failure(folder, process.returncode)


def _await(process: subprocess.Popen[bytes], ended: threading.Event, lost: threading.Event | None) -> None:
    while process.poll() is None:
        if lost is not None and lost.is_set():
            _stop(process)
        ended.wait(0.1)
    ended.set()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the playbook and its workers: asked first, then killed. They are one process group of their own."""
    if process.poll() is not None:
        return
    for number, patience in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def _failure(folder: Path, status: int) -> RolloutError:
    path = folder / "failure.json"
    if path.exists():
        told = json.loads(path.read_text())
        kind = KINDS.get(str(told["kind"]), Failed)
        return kind(
            told["observed"], limit=told["limit"], next=told["next"], page=told["page"], verdict=told["verdict"]
        )
    lines = (folder / "ansible.log").read_text(errors="replace").splitlines()
    words = next(
        (line.strip() for line in reversed(lines) if "ERROR" in line or "fatal" in line or "msg" in line), "no message"
    )
    return Failed(
        f"ansible-playbook ended with {status}: {words[:300]}",
        next=f"read {folder / 'ansible.log'}, then repeat the command",
    )
