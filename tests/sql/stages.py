"""One change of the repository on one database of a test server, through the engine."""

from __future__ import annotations

import psycopg
from servers import Server, database

from rollout.engine import changes, comparison, ledger
from rollout.engine.acting import ACCESS_EXCLUSIVE
from rollout.engine.stages import Stages
from rollout.environment import Settings

SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 300, "lock_attempts_max": 50, "chunk_target_ms": 20,
            "compare_connections": 2, "blocker_transaction_max_seconds": 1.0}  # fmt: skip


class Change:
    """A change, its stages, and a connection of the owner's beside them."""

    def __init__(self, tier: str, name: str, server: Server, dbname: str) -> None:
        self.target = database(server, tier, dbname, server.port)
        self.change = next(c for c in changes.plan(tier) if c.name == name)
        self.connection = psycopg.connect(self.target.conninfo(), autocommit=True)
        self._connected = ledger.connect(self.target)
        settings = Settings.model_construct(**SETTINGS)
        self.stages = Stages(self._connected.__enter__(), self.change, ledger.Fence("run", 1), settings)

    def stage(self, stage: str) -> None:
        """Reach a stage."""
        getattr(self.stages, stage)()

    def contract_prepare(self) -> None:
        """Take the first step of contract, and no other."""
        self.stages._do.locked("contract_prepare", "contracting", ACCESS_EXCLUSIVE)

    def compare(self) -> tuple[int, list[str]]:
        """Compare both sides whole and return (rows compared, keys that differ)."""
        stages = self.stages
        swapped = stages.stage() == "swapped"
        fence = ledger.Fence("run", 1)
        found = comparison.full(
            stages.connection, stages.statements, fence, stages.settings, lambda *_: None, reverse=swapped
        )
        return found.rows, [key.partition(": ")[2] for key in found.differing]

    def close(self) -> None:
        """Close both connections."""
        self.connection.close()
        self._connected.__exit__(None, None, None)
