"""A program run to its end, with its wall time, its processor time, and the most memory that it and its children held at once."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from rollout.children import die_with_parent
from rollout.errors import Failed

EVERY_SECONDS = 0.1
END_SECONDS = 15.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SERVERS = frozenset({"postgres", "weed"})  # a throw-away Postgres of ours is a server too


@dataclass(frozen=True)
class Act:
    """What a program did: wall seconds, processor seconds of it and its children, and the peak of their resident memory in bytes.

    Pages that several processes share are counted for each of them.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    def then(self, other: Act) -> Act:
        """Return this one and what came after it as one."""
        return Act(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds, max(self.peak_bytes, other.peak_bytes))


def run(
    argv: list[str], env: Mapping[str, str], *, deadline_seconds: float, cwd: Path | str = "/", who: dict[str, Any] | None = None,
    also: Collection[str] = (), says: str = "",
) -> Act:  # fmt: skip
    """Run a program, and return what it took; `who`: subprocess' arguments that drop to an account.

    `also`: names of programs below this process that belong to it though it did not start them. Raise Failed with its last words
    when it fails, does not end in time, or does not say `says`. It does not outlive this call, nor this process.
    """
    name = Path(argv[0]).name
    with tempfile.TemporaryFile() as said:
        before, began = _cpu_seconds(), monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=cwd, env=dict(env), start_new_session=True,
            preexec_fn=die_with_parent, **(who or {}),  # noqa: PLW1509  (one system call)
        )  # fmt: skip
        try:
            with Memory(process.pid, also) as memory:
                status = process.wait(deadline_seconds)
                seconds = monotonic() - began
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} did not end", limit=f"{deadline_seconds:,.0f} s", next="fewer --gigabytes") from None
        finally:
            _end(process)
        said.seek(max(0, said.seek(0, os.SEEK_END) - 4096))
        last = said.read().decode(errors="replace")
        if status != 0 or says not in last:
            lines = last.strip().splitlines() or ["it said nothing"]
            raise Failed(f"{name} exited with {status}: {' / '.join(lines[-4:])}", next="read what it said")
    return Act(seconds, _cpu_seconds() - before, memory.peak_bytes)


class Memory:
    """The resident memory of a process and its descendants, sampled from /proc while the block runs; servers are left out."""

    def __init__(self, pid: int, also: Collection[str] = ()) -> None:
        self.peak_bytes = 0
        self._pid, self._also = pid, frozenset(also)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.peak_bytes = max(self.peak_bytes, self.now())
            self._stop.wait(EVERY_SECONDS)

    def now(self) -> int:
        """Return the bytes that are resident now."""
        found = {pid for pid in family(self._pid) if _name(pid) not in SERVERS}
        if self._also:
            found |= {pid for pid in family(os.getpid()) if _name(pid) in self._also}
        return sum(map(_resident, found))


def family(pid: int) -> set[int]:
    """Return a process and all that descend from it; those that end meanwhile may be missing."""
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        if one in found:
            continue
        found.add(one)
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                with suppress(OSError):
                    todo += map(int, (task / "children").read_text().split())
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs of its group, which it leads: first as it is asked to, then at once."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
