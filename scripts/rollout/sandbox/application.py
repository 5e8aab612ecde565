"""A process of the application in the sandbox: built, started and stopped as the inventory's commands do it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil

from rollout.environment import ROOT
from rollout.errors import BadInput, Failed
from rollout.sandbox import record
from rollout.sandbox.layout import Ground
from rollout.sandbox.server import Server

_FINGERPRINT = "ROLLOUT_SANDBOX_FINGERPRINT"
SCRIPTS = ROOT / "scripts"


@dataclass(frozen=True)
class Application(Server):
    """One process; `dsns` are the connection strings and addresses that it gets in its environment file."""

    colour: str
    dsns: dict[str, str]

    kind: ClassVar[str] = "application"
    # uvicorn ends its running requests on SIGTERM; the load balancer has drained it before, if anybody cares.
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

    @property
    def folder(self) -> Path:
        """The folder of this host."""
        return self.layout.application(self.host)

    @property
    def release(self) -> Path:
        """The release that a start runs: a link to a built folder."""
        return self.folder / "release"

    def build(self, release: str) -> Path:
        """Build a release in its own folder, point `release` at it, and return the folder.

        A process that runs another release goes on undisturbed until it is stopped. Raise Failed when the build fails.
        """
        target = self.folder / "releases" / release
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "service.build", "--release", release, "--into", str(target)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=self.folder,
            env=_environment(),
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Failed(
                f"the build of {release} on {self.host} failed: {reason}",
                next="correct the release, then the same command",
            )
        link = self.folder / "release.part"
        link.unlink(missing_ok=True)
        link.symlink_to(target.relative_to(self.folder))
        link.replace(self.release)
        return target

    def built(self) -> str | None:
        """Return the release that a start would run, None when nothing is built."""
        return self.release.resolve().name if self.release.is_dir() else None

    def fingerprint(self) -> str:
        """Return name and digest of the built release: a rebuild under the same name is another release."""
        return f"{self.built()} {hashlib.sha256((self.release / 'RELEASE').read_bytes()).hexdigest()[:12]}"

    def runs_built(self) -> bool:
        """Return whether the process runs, and runs what is built."""
        pid = self.running()
        try:
            return pid is not None and psutil.Process(pid).environ().get(_FINGERPRINT) == self.fingerprint()
        except (psutil.Error, FileNotFoundError):
            return False

    def launch(self, ground: Ground | None = None) -> None:
        """Write the environment file and start the built release as the invoking user, who owns the Python it needs."""
        if self.built() is None:
            raise BadInput(
                f"{self.host} has no release to start",
                next=f"python -m rollout.sandbox.app build {self.host} --release v1",
            )
        values = {"HOST": "127.0.0.1", "PORT": str(self.port), "COLOUR": self.colour, **self.dsns}
        values = {f"ROLLOUT_APP_{key}": value for key, value in values.items()} | {_FINGERPRINT: self.fingerprint()}
        record.replace(self.folder / "env", "".join(f"{key}={value}\n" for key, value in values.items()))
        self.layout.pidfile(self.host).start(
            [sys.executable, "-m", "service.serve", "--folder", str(self.release.resolve())],
            folder=self.folder, log=self.layout.log(self.host), env=_environment() | values,
        )  # fmt: skip

    def ask(self) -> None:
        """GET /health, directly, past the load balancer; raise OSError when the answer is not 200."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
            answer.read()


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
    return kept | {"PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": "1"}
