"""The application closed to new requests while a database is exchanged, and opened again: the balancer's drain, observed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rollout.environment import Environment
from rollout.errors import Failed
from rollout.haproxy import Client

POLL_SECONDS = 0.05
UP_SECONDS = 15.0
PAGE = "runbooks/restore.md#exchange"


@dataclass(frozen=True)
class Closed:
    """Which servers were drained for it, sessions that did not end within the deadline, and seconds it took."""

    servers: list[str]
    left: dict[str, int]
    seconds: float


def serving(environment: Environment) -> list[str]:
    """Return the servers that the balancer lets get requests now, whatever their weight."""
    return [s.name for s in Client.of(environment).servers().values() if s.state == "ready"]


def close(environment: Environment, servers: list[str]) -> Closed:
    """Drain the servers, all that there are: whoever asks is told 503; wait for requests under way, up to the drain's limit."""
    began, client = time.monotonic(), Client.of(environment)
    for name in servers:
        client.set_state(name, "drain")
    end = began + environment.settings.drain_timeout_seconds
    left = _open(client, servers)
    while left and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        left = _open(client, servers)
    return Closed(servers, left, round(time.monotonic() - began, 3))


def reopen(environment: Environment, servers: list[str]) -> float:
    """Let the servers get requests again and return the seconds until one is up that has a weight; raise Failed after 15 s."""
    began, client = time.monotonic(), Client.of(environment)
    for name in servers:
        client.set_state(name, "ready")
    while not any(s.up and s.effective_weight for s in client.servers().values()):
        if time.monotonic() - began > UP_SECONDS:
            raise Failed(
                "no server of the application came up again",
                limit=f"{UP_SECONDS:g} s",
                next="read its log; the databases are exchanged: invoke restore.undo goes back",
                page=PAGE,
            )
        time.sleep(POLL_SECONDS)
    return round(time.monotonic() - began, 3)


def _open(client: Client, names: list[str]) -> dict[str, int]:
    return {name: s.scur for name, s in client.servers().items() if name in names and s.scur}
