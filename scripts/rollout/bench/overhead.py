"""What the sync costs a writer: medians of a closed loop of single-row writes, and of an UPDATE of many rows."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from rollout.bench.data import calm
from rollout.bench.server import CLIENT, Server

INSERT = (
    "INSERT INTO orders (tenant_id, status, email, payload) VALUES (gen_random_uuid(), 'new', 'loop@example.com', %s)"
    " RETURNING id"
)
# Columns that nobody was promised anything about.
UPDATE = "UPDATE orders SET subject = %s, updated_at = now() WHERE id = %s"
DELETE = "DELETE FROM orders WHERE id = %s"
BULK = "UPDATE orders SET subject = %s, updated_at = now() WHERE id BETWEEN %s AND %s"
BULK_ROWS, BULK_TIMES = 10_000, 5
WARM_SHARE = 0.2


@dataclass(frozen=True)
class Cost:
    """Median milliseconds: a single-row write, the same without waiting for the disk, and a write of `bulk_rows` rows."""

    single_ms: float
    single_unflushed_ms: float
    bulk_ms: float
    bulk_rows: int

    def least(self, other: Cost) -> Cost:
        """Return the shorter of each: what two measurements of the same thing have in common, whatever else disturbed one."""
        return Cost(
            min(self.single_ms, other.single_ms), min(self.single_unflushed_ms, other.single_unflushed_ms),
            min(self.bulk_ms, other.bulk_ms), self.bulk_rows,
        )  # fmt: skip

    def to_dict(self) -> dict[str, float]:
        """Return JSON-native values."""
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def over(self, other: Cost) -> dict[str, float]:
        """Return how many times as long as `other` each takes."""
        return {
            "write_overhead": round(self.single_ms / other.single_ms, 3),
            "unflushed_write_overhead": round(self.single_unflushed_ms / other.single_unflushed_ms, 3),
            "bulk_write_overhead": round(self.bulk_ms / other.bulk_ms, 3),
        }


def measure(server: Server, dbname: str, rows: int, seconds: float, seed: int) -> Cost:
    """Measure on an idle database, `seconds` each for both loops of single rows; leaves no row behind."""
    chance = random.Random(seed)
    with server.connect(dbname) as superuser, server.connect(dbname, CLIENT) as client:
        client.prepare_threshold = 0
        # Each measurement begins behind a checkpoint, where the first write of a page costs most, on every one alike.
        calm(superuser)
        single = _single(client, rows, seconds, chance)
        client.execute("SET synchronous_commit = off")
        unflushed = _single(client, rows, seconds, chance)
        client.execute("SET synchronous_commit = on")
        calm(superuser)
        many = min(BULK_ROWS, max(1, rows // 2))
        bulk = statistics.median(_bulk(client, rows, many, chance) for _ in range(BULK_TIMES))
    return Cost(single * 1000, unflushed * 1000, bulk * 1000, many)


def _single(client: psycopg.Connection[Any], rows: int, seconds: float, chance: random.Random) -> float:
    """Insert a row, update one that was there, delete the inserted one, over and over; return the median of all."""
    took: list[float] = []
    began = time.monotonic()
    while (now := time.monotonic()) < began + seconds * (1 + WARM_SHARE):
        times = [
            _timed(lambda: client.execute(INSERT, (Jsonb({"loop": True}),)).fetchone()),
            _timed(lambda: client.execute(UPDATE, ("written by the loop", chance.randint(1, rows)))),
        ]
        times.append(_timed(partial(client.execute, DELETE, (times[0][1][0],))))
        if now > began + seconds * WARM_SHARE:
            took += [spent for spent, _ in times]
    return statistics.median(took)


def _bulk(client: psycopg.Connection[Any], rows: int, many: int, chance: random.Random) -> float:
    first = chance.randint(1, rows - many + 1)
    return _timed(lambda: client.execute(BULK, ("written in bulk", first, first + many - 1)))[0]


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result
