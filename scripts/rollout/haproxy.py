"""HAProxy's runtime socket. It never signals failure, so every reply is read and every change is read back.

Only `drain` is used to take a server out by this project: it keeps the health checks running, whereas a server that
comes back from `maint` counts as up before its first check.
"""

from __future__ import annotations

import csv
import io
import socket
from dataclasses import dataclass
from typing import Literal

from rollout.environment import Environment
from rollout.errors import Failed

State = Literal["ready", "drain", "maint"]
WEIGHT_MAX = 256
TIMEOUT_SECONDS = 2.0
PAGE = "runbooks/rollback.md#traffic"

# show servers state: SRV_ST_RUNNING, and the bits of srv_admin_state (management.txt, section 9.3)
_RUNNING = 2
_MAINT_BITS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
_DRAIN_BITS = 0x08 | 0x10


@dataclass(frozen=True)
class Server:
    """One server of the backend as HAProxy sees it now. Counters are since HAProxy's start; `scur` is sessions now."""

    name: str
    status: str
    state: State
    running: bool
    check_status: str
    weight: int
    scur: int
    hrsp_5xx: int
    econ: int
    eresp: int
    wretr: int
    wredis: int

    @property
    def up(self) -> bool:
        """Whether a health check has said so; a server without checks is not known to be up."""
        return self.running and self.check_status.removeprefix("* ") in ("L4OK", "L6OK", "L7OK", "L7OKC")

    @property
    def effective_weight(self) -> int:
        """The weight that counts in the round: 0 for a server that is down, drained or in maintenance."""
        return self.weight if self.running and self.state == "ready" else 0


class Client:
    """Commands to one backend over a runtime socket, a unix path or host:port. One connection a command."""

    def __init__(self, socket: str, backend: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """`backend` is the one that holds the servers of both colours."""
        self.address = socket
        self.backend = backend
        self.timeout_seconds = timeout_seconds

    @classmethod
    def of(cls, environment: Environment) -> Client:
        """Return the client of an environment's load balancer."""
        return cls(environment.load_balancer.socket, environment.load_balancer.backend)

    def servers(self) -> dict[str, Server]:
        """Return the backend's servers by name; raise Failed when the socket or the backend is not there."""
        stat = {
            row["svname"]: row
            for row in csv.DictReader(io.StringIO(self._ask("show stat").lstrip("# ")))
            if row["pxname"] == self.backend and row["svname"] not in ("FRONTEND", "BACKEND")
        }
        state = {row["srv_name"]: row for row in self._state_rows()}
        if not stat or stat.keys() != state.keys():
            raise self._failed(f"it knows no backend {self.backend!r} with servers")
        return {name: _server(row, state[name]) for name, row in stat.items()}

    def weights(self) -> dict[str, int]:
        """Return every server's configured weight now (0 to 256), whatever its state."""
        return {row["srv_name"]: int(row["srv_uweight"]) for row in self._state_rows()}

    def set_weight(self, server: str, weight: int) -> None:
        """Give a server an absolute weight and read it back; raise Failed when HAProxy says or shows otherwise."""
        if not 0 <= weight <= WEIGHT_MAX:
            raise ValueError(f"weight {weight} of {server} is not in 0..{WEIGHT_MAX}")
        self._tell(f"set weight {self.backend}/{server} {weight}")
        words = self._ask(f"get weight {self.backend}/{server}").split()
        if not words or words[0] != str(weight):
            raise self._failed(f"{server} was given weight {weight} and reads back as {' '.join(words) or 'nothing'!r}")

    def set_state(self, server: str, state: State) -> None:
        """Set a server's administrative state and read it back; raise Failed when HAProxy says or shows otherwise."""
        self._tell(f"set server {self.backend}/{server} state {state}")
        seen = {row["srv_name"]: _admin(int(row["srv_admin_state"])) for row in self._state_rows()}.get(server)
        if seen != state:
            raise self._failed(f"{server} was told to be {state} and reads back as {seen}")

    def _state_rows(self) -> list[dict[str, str]]:
        lines = self._ask(f"show servers state {self.backend}").splitlines()
        header = next((line[2:].split() for line in lines if line.startswith("# ")), None)
        if header is None:
            raise self._failed(f"it answered {' '.join(lines)[:200]!r} to show servers state")
        rows = [line.split() for line in lines if line and not line.startswith("#")]
        return [dict(zip(header, row, strict=False)) for row in rows if len(row) > 1]

    def _tell(self, command: str) -> None:
        reply = self._ask(command).strip()
        if reply:
            raise self._failed(f"it answered {reply!r} to {command!r}")

    def _ask(self, command: str) -> str:
        try:
            with self._connect() as connection:
                connection.sendall(command.encode() + b"\n")
                chunks = []
                while chunk := connection.recv(65536):
                    chunks.append(chunk)
        except OSError as error:
            raise self._failed(f"{type(error).__name__} {error} on {command!r}") from error
        return b"".join(chunks).decode(errors="replace")

    def _connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        if "/" not in self.address and port.isdigit():
            return socket.create_connection((host, int(port)), timeout=self.timeout_seconds)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout_seconds)
        try:
            connection.connect(self.address)
        except OSError:
            connection.close()
            raise
        return connection

    def _failed(self, observed: str) -> Failed:
        return Failed(f"load balancer at {self.address}: {observed}", next="invoke status", page=PAGE)


def _admin(bits: int) -> State:
    if bits & _MAINT_BITS:
        return "maint"
    return "drain" if bits & _DRAIN_BITS else "ready"


def _server(stat: dict[str, str], state: dict[str, str]) -> Server:
    return Server(
        name=stat["svname"],
        status=stat["status"],
        state=_admin(int(state["srv_admin_state"])),
        running=int(state["srv_op_state"]) == _RUNNING,
        check_status=stat["check_status"],
        weight=int(state["srv_uweight"]),
        **{key: int(stat[key] or 0) for key in ("scur", "hrsp_5xx", "econ", "eresp", "wretr", "wredis")},
    )
