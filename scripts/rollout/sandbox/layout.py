"""Where a sandbox keeps what: its record, secrets and logs in the repository, its servers' data where they can reach it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rollout.environment import ROOT
from rollout.errors import BadInput
from rollout.sandbox import account, binaries
from rollout.sandbox.account import Account
from rollout.sandbox.binaries import Binaries
from rollout.sandbox.processes import PidFile

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Layout:
    """The paths of one sandbox. `home` is always in the repository and belongs to the invoking user."""

    name: str
    home: Path

    @property
    def inventory(self) -> Path:
        """The generated inventory; that it exists means that the sandbox is up."""
        return self.home / "inventory.yml"

    @property
    def passfile(self) -> Path:
        """The libpq passfile of the roles that the rollout and the application use."""
        return self.home / "pgpass"

    @property
    def superuser_passfile(self) -> Path:
        """The libpq passfile that only the sandbox itself uses."""
        return self.home / "pgpass-superuser"

    @property
    def credentials(self) -> Path:
        """The S3 credentials, in the AWS shared credentials format."""
        return self.home / "s3-credentials"

    @property
    def weights(self) -> Path:
        """The load balancer's weights as last seen."""
        return self.home / "weights.json"

    def log(self, host: str) -> Path:
        """Return the log of a server."""
        return self.home / "logs" / f"{host}.log"

    def pidfile(self, host: str) -> PidFile:
        """Return the pid file of a server."""
        return PidFile(self.home / "run" / f"{host}.pid")

    def application(self, host: str) -> Path:
        """Return the folder of an application process: its releases and its environment file."""
        return self.home / "apps" / host

    def create(self) -> None:
        """Make the folders in the repository; mode 0711, so that a server account may pass to its own folder."""
        for folder in (self.home.parent, self.home, self.home / "logs", self.home / "run", self.home / "apps"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)


def of(name: str) -> Layout:
    """Return the layout of a sandbox; raise BadInput when it cannot be a name."""
    if not NAME.fullmatch(name):
        raise BadInput(
            f"sandbox name {name!r}", limit="a-z, 0-9 and -, at most 31 characters", next="choose another name"
        )
    return Layout(name, ROOT / ".sandbox" / name)


@dataclass(frozen=True)
class Ground:
    """What servers stand on: their account (None: the invoking user), their folder and their programs."""

    account: Account | None
    folder: Path
    binaries: Binaries

    def server(self, host: str) -> Path:
        """Return the folder of a server, made (mode 0700) and owned by the account."""
        folder = self.folder / host
        folder.mkdir(mode=0o700, exist_ok=True)
        self.own(folder)
        return folder

    def own(self, path: Path) -> None:
        """Give a path to the account, if servers run as one."""
        if self.account is not None:
            self.account.own(path)

    def write(self, path: Path, text: str) -> None:
        """Write a file of a server, mode 0600, whole or not at all."""
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with open(part, "x", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(text)
        self.own(part)
        part.replace(path)


def refuge() -> Path:
    """Return the folder outside the repository that this checkout uses when a server account cannot reach it."""
    name = f"penguin-rollout-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
    return Path("/var/tmp") / name  # noqa: S108  (its owner is checked before use)


def prepare(layout: Layout, *, use_path_binaries: bool) -> Ground:
    """Choose account, folder and programs; copy the programs where the account cannot reach the checkout's."""
    who = account.choose()
    programs = binaries.from_path() if use_path_binaries else binaries.from_wheels()
    inside = layout.home / "servers"
    inside.mkdir(exist_ok=True)
    inside.chmod(0o711)
    if who is None or (who.reaches(*programs.all()) and who.reaches(_probe(inside, who))):
        return Ground(who, inside, programs)
    base = refuge()
    _make_own(base)
    for folder in (base / "bin", base / layout.name):
        _make_own(folder)
    return Ground(who, base / layout.name, programs if use_path_binaries else binaries.copy(base / "bin"))


def purge(layout: Layout) -> None:
    """Delete everything of a sandbox, and the folder outside the repository once no sandbox uses it."""
    base = refuge()
    if base.exists():
        _make_own(base)
        shutil.rmtree(base / layout.name, ignore_errors=True)
        if not [p for p in base.iterdir() if p.name != "bin"]:
            shutil.rmtree(base)
    if layout.home.exists():
        shutil.rmtree(layout.home)


def _probe(folder: Path, who: Account) -> Path:
    probe = folder / "probe"
    probe.mkdir(mode=0o700, exist_ok=True)
    who.own(probe)
    return probe


def _make_own(folder: Path) -> None:
    # /var/tmp is everybody's: a folder that somebody else put there beforehand must not be used.
    folder.mkdir(exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.geteuid():
        raise BadInput(
            f"{folder} belongs to user id {status.st_uid}", limit="this user's own folder", next=f"remove {folder}"
        )
    folder.chmod(0o711)
