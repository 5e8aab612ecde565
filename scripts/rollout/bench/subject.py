"""What a tool is given to work on, and what it reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rollout.bench.load import Load
from rollout.bench.overhead import Cost
from rollout.bench.server import Server

TABLE = "orders"


@dataclass(frozen=True)
class Step:
    """A named stretch of a tool's work, in the machine's monotonic seconds."""

    name: str
    start: float
    end: float


@dataclass
class Subject:
    """A database with the table, under load. `seconds`: how long to watch between steps; `without`: writes before any sync."""

    server: Server
    dbname: str
    rows: int
    seconds: float
    seed: int
    load: Load
    without: Cost | None = None
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take note of what happens inside as a step of that name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps.append(Step(name, began, time.monotonic()))


@dataclass
class Measured:
    """What a tool did itself. None: it has no such thing.

    `filled`: which indexes the new table had while it was copied into, `none`, `key` or `all`; `facts`: anything else,
    JSON-native, and copy_seconds and total_seconds, and index_seconds when indexes are made after the copy.
    """

    rows_per_s: float
    filled: str
    compare_share: float | None = None
    write_overhead: dict[str, float] = field(default_factory=dict)
    swap_ms: float | None = None
    rollback_ms: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
