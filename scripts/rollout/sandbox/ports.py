"""Ports of a sandbox: free ones, chosen once and recorded; whoever took one is named."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from rollout.errors import BadInput

LOWEST = 12_000


def choose(keys: Sequence[str], *, avoid: Collection[int] = (), base: int | None = None) -> dict[str, int]:
    """Return a free port for each key: from `base` upwards, or any that are free and not in `avoid`.

    Chosen below the range from which the kernel serves outgoing connections (what binding port 0 would give): a
    client under load could otherwise hold the port of a server that is about to be started again.
    Raise BadInput when a port asked for is taken, or none are left.
    """
    if base is not None:
        ports = {key: base + offset for offset, key in enumerate(keys)}
        if not 1024 <= base <= 65_535 - len(keys):
            raise BadInput(
                f"base port {base}", limit=f"1024 to {65_535 - len(keys)}", next="choose another --base-port"
            )
        check(ports, "choose another --base-port")
        return ports
    span = range(LOWEST, _outgoing_from())
    start = random.randrange(len(span))  # a random start keeps two sandboxes that start at once apart
    found: list[int] = []
    for offset in range(len(span)):
        port = span[(start + offset) % len(span)]
        if port not in avoid and free(port):
            found.append(port)
            if len(found) == len(keys):
                return dict(zip(keys, found, strict=True))
    raise BadInput(
        f"{len(found)} free ports", limit=f"{len(keys)} between {span.start} and {span.stop}", next="free some"
    )


def free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check(ports: Mapping[str, int], advice: str) -> None:
    """Raise BadInput, naming port and holder, when one of `ports` is taken.

    A port that nobody is seen to hold is waited for, at most 5 s: a process that was just killed may still be
    giving its memory back, and keeps its ports until then.
    """
    deadline = time.monotonic() + 5
    for key, port in ports.items():
        while not free(port):
            who = holder(port)
            if who is not None or time.monotonic() > deadline:
                raise BadInput(
                    f"port {port} ({key}) is taken by {who or 'a process of another user'}",
                    limit="a free port",
                    next=advice,
                )
            time.sleep(0.05)


def holder(port: int) -> str | None:
    """Return who has a port, None when this user cannot see it or nobody has it."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return None


def _outgoing_from() -> int:
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        low = 32_768
    return low if low - LOWEST > 1_000 else 65_000
