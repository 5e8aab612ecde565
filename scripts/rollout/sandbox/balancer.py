"""The load balancer: HAProxy in front of both colours of the application."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rollout.errors import Failed
from rollout.sandbox import record, templates
from rollout.sandbox.layout import Ground
from rollout.sandbox.server import Server

BACKEND = "app"
AS_FOUND = {"blue": 100, "green": 0}


@dataclass(frozen=True)
class Balancer(Server):
    """One HAProxy; `applications` maps each server name of its backend to the port of that process."""

    applications: dict[str, int]

    kind: ClassVar[str] = "load balancer"
    # SIGUSR1 lets running requests end; who stops the whole sandbox does not wait long for a silent client.
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGUSR1, 0.5),
        (signal.SIGTERM, 2.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def requests(self) -> Path:
        """The file that gets one JSON object for each request."""
        return self.layout.log(f"{self.host}-requests")

    def launch(self, ground: Ground) -> None:
        """Write the configuration, with the weights as last seen, and start the server."""
        folder = ground.server(self.host)
        weights = self._last_weights()
        servers = [{"name": name, "port": port, "weight": weights[name]} for name, port in self.applications.items()]
        configuration = folder / "haproxy.cfg"
        ground.write(
            configuration,
            templates.render("haproxy.cfg.j2", port=self.port, admin_port=self.ports["admin"], servers=servers),
        )
        self.layout.pidfile(self.host).start(
            [str(ground.binaries.haproxy), "-db", "-f", str(configuration)],
            folder=folder, log=self.layout.log(self.host), output=self.requests,
            env={"PATH": os.defpath}, account=ground.account,
        )  # fmt: skip

    def ask(self) -> None:
        """Ask the runtime socket for the servers and keep the weights that it tells."""
        self.remember()

    def remember(self) -> dict[str, int]:
        """Keep and return the weights that HAProxy has now: a restart forgets what its runtime socket was told."""
        weights = self.weights()
        if weights != self._last_weights() or not self.layout.weights.exists():
            record.replace(self.layout.weights, json.dumps(weights, indent=2) + "\n")
        return weights

    def weights(self) -> dict[str, int]:
        """Return the weight of each server of the backend; raise OSError or Failed when HAProxy does not tell."""
        with socket.create_connection(("127.0.0.1", self.ports["admin"]), timeout=2) as connection:
            connection.sendall(b"show stat\n")
            text = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        found = {
            row["svname"]: int(row["weight"] or 0)
            for row in rows
            if row["pxname"] == BACKEND and row["svname"] in self.applications
        }
        if found.keys() != self.applications.keys():
            raise Failed(
                f"HAProxy knows {sorted(found)}", limit=f"{sorted(self.applications)}", next="invoke sandbox.up"
            )
        return found

    def down(self) -> bool:
        """Keep the weights, then stop the server."""
        with contextlib.suppress(OSError, Failed):  # it does not run, or not well: what was last seen stands
            self.remember()
        return super().down()

    def _last_weights(self) -> dict[str, int]:
        """Return green alone if that was last seen (blue may be gone by then), else as found: a share that was being tried
        when HAProxy died, or an older one, is nothing to begin again with."""
        as_found = {name: AS_FOUND[name.split("-")[0]] for name in self.applications}
        try:
            seen = json.loads(self.layout.weights.read_text())
        except (FileNotFoundError, ValueError):
            return as_found
        last = {name: int(seen.get(name, weight)) for name, weight in as_found.items()}
        green_alone = not any(weight for name, weight in last.items() if name.startswith("blue")) and any(last.values())
        return last if green_alone else as_found
