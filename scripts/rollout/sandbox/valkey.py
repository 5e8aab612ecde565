"""A Redis server: Valkey from its wheel, or redis-server or valkey-server on PATH."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import redis

from rollout.errors import Failed
from rollout.sandbox import templates
from rollout.sandbox.layout import Ground
from rollout.sandbox.server import Server


@dataclass(frozen=True)
class Valkey(Server):
    """One Redis server on 127.0.0.1, append-only, so that what was acknowledged outlives SIGKILL."""

    kind: ClassVar[str] = "redis"

    def launch(self, ground: Ground) -> None:
        """Write the configuration and start the server."""
        folder = ground.server(self.host)
        configuration = folder / "redis.conf"
        ground.write(configuration, templates.render("valkey.conf.j2", port=self.port, folder=folder))
        self.layout.pidfile(self.host).start(
            [str(ground.binaries.valkey), str(configuration)],
            folder=folder, log=self.layout.log(self.host), env={"PATH": os.defpath}, account=ground.account,
        )  # fmt: skip

    def ask(self) -> None:
        """PING; a server that is still loading its data does not answer it."""
        with redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=2, socket_connect_timeout=2) as client:
            if not client.ping():
                raise Failed(f"{self.host} did not answer PING", next=f"read {self.layout.log(self.host)}")

    def flush(self) -> None:
        """Throw everything in the server away."""
        with redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=30) as client:
            client.flushall()
