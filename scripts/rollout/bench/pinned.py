"""One core for a client and the backends that serve it: what is compared side by side must not run on different ones.

Left to itself the kernel puts one of two backends beside the client and the other on another core, and keeps them there: two
databases that are alike then differ by a third.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

PROCESSES = Path("/proc")
Connection = psycopg.Connection[Any]
Pin = Callable[[Sequence[Connection]], bool]


@contextmanager
def to_one_core(number: int = 0) -> Iterator[Pin]:
    """Pin the calling thread to one core, the `number`-th of those that it may use; give it back what it had at the end.

    Yield what pins the backends of connections to the same core, and tells whether everything is pinned: not on a platform
    without affinity, and not where a backend is none of this machine's or of somebody else's account.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield lambda _: False
        return
    had = os.sched_getaffinity(0)
    core = sorted(had, reverse=True)[number % len(had)]  # the first core answers most interrupts
    os.sched_setaffinity(0, {core})
    try:
        yield lambda connections: all([_pin(connection, core) for connection in connections])
    finally:
        os.sched_setaffinity(0, had)


def _pin(connection: Connection, core: int) -> bool:
    """Pin a backend; tell whether that was done."""
    pid = connection.info.backend_pid
    try:
        # A server elsewhere says a number that is another process here: its title names our end of the connection.
        if f"({_port(connection)})".encode() not in (PROCESSES / str(pid) / "cmdline").read_bytes():
            return False
        os.sched_setaffinity(pid, {core})
    except OSError:
        return False
    return True


def _port(connection: Connection) -> int | None:
    """Return the port of the client's own end, None over a socket of the file system."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        found = same.getsockname()
        return int(found[1]) if isinstance(found, tuple) else None
