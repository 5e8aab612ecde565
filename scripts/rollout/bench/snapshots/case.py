"""What a tool of the bench is given to snapshot, and what it says that it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.bench.server import SUPERUSER, Server
from rollout.bench.store import Store
from rollout.bench.watch import Act
from rollout.environment import Database

SOURCE, RESTORED = "bench", "bench_restored"
JOBS = 2
DEADLINE_LEAST_SECONDS, DEADLINE_SECONDS_PER_GB = 600.0, 3600.0


@dataclass(frozen=True)
class Case:
    """A database to be taken into a store and brought back; nobody writes to it. `folder`: the tool's, empty, gone afterwards.

    `restored`: to be called once, while the restored copy stands, with where that is: it is compared there. `calm`: to be called
    before each act, so that none pays for the one before it.
    """

    server: Server
    store: Store
    gigabytes: float
    folder: Path
    prefix: str
    restored: Callable[[Database], None]
    calm: Callable[[], None]

    @property
    def deadline_seconds(self) -> float:
        """How long an act may take."""
        return max(DEADLINE_LEAST_SECONDS, self.gigabytes * DEADLINE_SECONDS_PER_GB)

    @property
    def source(self) -> Database:
        """The database."""
        return database(self.server, SOURCE)

    @property
    def target(self) -> Database:
        """Where a tool that restores into a running server puts it: beside the source."""
        return database(self.server, RESTORED)


@dataclass(frozen=True)
class Did:
    """The acts of a tool; None: it has no such act. `proven`: whether its own verification, which restores
    and compares, passed; None where it does no such thing.

    `guarantee`: what its verification shows; `findings`: what that found wrong; `options`: what it was told beyond its defaults.
    """

    snapshot: Act
    restore: Act
    verify: Act | None
    proven: bool | None
    guarantee: str
    findings: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def database(server: Server, dbname: str, port: int | None = None, passfile: Path | None = None) -> Database:
    """Return a database as the inventory would describe it, reached by its server's superuser."""
    return Database.model_validate({
        "host": f"pg-{dbname.replace('_', '-')}", "tier": "content", "host_set": "live", "address": "127.0.0.1",
        "port": port or server.port, "dbname": dbname, "user": SUPERUSER, "passfile": str(passfile or server.passfile),
        "app_role": "penguin_app",
    })  # fmt: skip
