"""One process of the application: reads its configuration, serves until SIGTERM, finishes what is in flight.

Environment: ROLLOUT_APP_HOST, ROLLOUT_APP_PORT, ROLLOUT_APP_COLOUR, ROLLOUT_APP_{OLTP,CONTENT,QUEUE,OLAP,WORKER}_DSN,
ROLLOUT_APP_REDIS_URL; optional ROLLOUT_APP_GRACE_SECONDS (how long health says 503 before the port closes; default 1).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from service import queries
from service.app import create
from service.build import digest
from service.stores import WORKER, Stores


@dataclass(frozen=True)
class Configuration:
    """What the environment variables say. DSNs may name a passfile; they are never printed."""

    host: str
    port: int
    colour: str
    dsns: dict[str, str] = field(repr=False)
    redis_url: str = field(repr=False)
    grace_seconds: float = 1.0


def configuration(environ: Mapping[str, str]) -> Configuration:
    """Read the configuration; raise ValueError that names the variables which are missing or wrong."""
    stores = (*queries.TIERS, WORKER)
    needed = ["HOST", "PORT", "COLOUR", "REDIS_URL", *(f"{name.upper()}_DSN" for name in stores)]
    missing = [f"ROLLOUT_APP_{name}" for name in needed if not environ.get(f"ROLLOUT_APP_{name}")]
    if missing:
        raise ValueError(f"not set: {', '.join(missing)}")
    port = environ["ROLLOUT_APP_PORT"]
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"ROLLOUT_APP_PORT is {port!r}, not a port")
    return Configuration(
        host=environ["ROLLOUT_APP_HOST"],
        port=int(port),
        colour=environ["ROLLOUT_APP_COLOUR"],
        dsns={name: environ[f"ROLLOUT_APP_{name.upper()}_DSN"] for name in stores},
        redis_url=environ["ROLLOUT_APP_REDIS_URL"],
        grace_seconds=float(environ.get("ROLLOUT_APP_GRACE_SECONDS", "1")),
    )


class Server(uvicorn.Server):
    """uvicorn, with a grace period: health answers 503 first, so that a balancer looks away before the port closes."""

    def __init__(self, config: uvicorn.Config, stores: Stores, grace_seconds: float) -> None:
        super().__init__(config)
        self._stores = stores
        self._grace_seconds = grace_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start serving and remember the loop that a signal has to wake."""
        self._loop = asyncio.get_running_loop()
        await super().startup()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first signal; close at once on the second."""
        if self._stores.draining or self._loop is None:
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        self._stores.draining = True
        self._loop.call_soon_threadsafe(self._loop.call_later, self._grace_seconds, setattr, self, "should_exit", True)


def main() -> int:
    """Serve; exit 2 with one line when the folder or the configuration is wrong, 0 after a clean end."""
    try:
        folder = Path(os.environ["ROLLOUT_APP_FOLDER"])
        release = queries.read(folder)
        settings = configuration(os.environ)
    except (KeyError, OSError, ValueError) as error:
        print(f"refused: {error}; next: python -m service.serve --folder DIR", file=sys.stderr)
        return 2
    if digest(folder) != release.sha256:
        print(f"refused: {folder} was edited after it was built; next: python -m service.build", file=sys.stderr)
        return 2
    stores = Stores(release, settings.dsns, settings.redis_url, settings.colour)
    config = uvicorn.Config(
        create(stores, f"{settings.host}:{settings.port}"),
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        # Longer than any client or balancer keeps an idle connection: this side never closes one under a request.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=15,
    )
    server = Server(config, stores, settings.grace_seconds)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
