"""One core for a client and the backends that serve it: what is compared side by side must not run on different ones.

Left to itself the kernel puts one of two backends beside the client and the other on another core, and keeps them there: two
databases that are alike then differ by a third.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

PROCESSES = Path("/proc")
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Core:
    """A core that the calling thread, and whatever it starts, is pinned to; `number`: None where there is no such thing."""

    number: int | None

    def pin(self, connections: Iterable[Connection]) -> bool:
        """Pin the backends of connections; tell whether that was done. It is not where one is no process of this machine."""
        return all(self.number is not None and _is_here(one) and self.pin_process(one.info.backend_pid) for one in connections)

    def pin_process(self, pid: int) -> bool:
        """Pin a process that is known to be ours; tell whether that was done."""
        if self.number is None:
            return False
        try:
            os.sched_setaffinity(pid, {self.number})
        except OSError:
            return False
        return True


@contextmanager
def to_one_core(number: int = 0) -> Iterator[Core]:
    """Pin the calling thread to one core, the `number`-th of those that it may use; give it back what it had at the end."""
    if not hasattr(os, "sched_setaffinity"):
        yield Core(None)
        return
    had = os.sched_getaffinity(0)
    core = sorted(had, reverse=True)[number % len(had)]  # the first one answers most interrupts
    os.sched_setaffinity(0, {core})
    try:
        yield Core(core)
    finally:
        os.sched_setaffinity(0, had)


def _is_here(connection: Connection) -> bool:
    """Tell whether the backend's number is that of a process here: its title then names our end of the connection."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        name = same.getsockname()
    try:
        title = (PROCESSES / str(connection.info.backend_pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return isinstance(name, tuple) and f"({name[1]})".encode() in title
