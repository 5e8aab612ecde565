"""A table of a test's own, a declared rewrite of it, and its stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from servers import Server, database, superuser

from rollout.engine import changes, ledger
from rollout.engine.stages import Report, Stages
from rollout.environment import Database, Settings

NAME = "001_rewrite"
SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 300, "lock_attempts_max": 30, "chunk_target_ms": 20,
            "compare_connections": 2, "blocker_transaction_max_seconds": 1.0}  # fmt: skip


@dataclass
class Place:
    """A database and a change folder."""

    target: Database
    change: changes.Change

    @classmethod
    def make(cls, server: Server, folder: Path, setup: str, **declared: Any) -> Place:
        """Make a database with `setup` in it, owned by the runner; the application may write to all of it."""
        target = database(server, "queue", server.database("queue"), server.port)
        with psycopg.connect(target.conninfo(), autocommit=True) as owner:
            owner.execute(setup.encode())
            owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO penguin_app")
        (folder / NAME).mkdir()
        said = {"change": NAME, "kind": "rewrite", "summary": "a test's", **declared}
        (folder / NAME / "change.yml").write_text(yaml.safe_dump(said))
        return cls(target, changes.load("queue", folder / NAME))

    @contextmanager
    def stages(self, report: Report = lambda _work, _rows, _rate: None) -> Iterator[Stages]:
        """Yield the stages over a connection of their own."""
        with ledger.connect(self.target) as connection:
            yield Stages(connection, self.change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS), report)

    def app(self) -> psycopg.Connection[Any]:
        """Return a connection of the application's, in autocommit."""
        conninfo = self.target.conninfo("app").replace("penguin_rollout", "penguin_app")
        return psycopg.connect(conninfo, autocommit=True, prepare_threshold=0)

    def rows(self, query: str) -> list[Any]:
        """Return the rows of a query that sees everything."""
        with superuser(self.target.port, self.target.dbname) as connection:
            return connection.execute(query.encode()).fetchall()
