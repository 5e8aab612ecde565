"""The state that a rollout starts from, made of nothing: schema as found, deterministic rows, and Redis to match.

The same seed and scale give the same rows on every machine, ids and instants included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from rollout import environment
from rollout.seed import database, queue_keys
from rollout.seed.database import baseline
from rollout.seed.queue_keys import list_key
from rollout.seed.shape import Shape, shape

__all__ = ["baseline", "fill", "list_key", "shape"]


def fill(
    environment: environment.Environment, *, scale: float, seed: int, progress: Callable[[str], None]
) -> dict[str, int]:
    """Seed the live databases and Redis, the databases side by side; return rows by `<tier>.<table or kind>`.

    A finished fill is not repeated (its counts are read back), an interrupted one goes on. Raises BadInput for a
    scale or seed out of range, or other than those of an earlier fill. `progress` gets one line a chunk, one at a time.
    """
    rows = shape(scale, seed)
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            progress(line)

    live = [d for d in environment.databases if d.host_set == "live"]
    with ThreadPoolExecutor(max_workers=len(live)) as pool:
        found = pool.map(lambda host: _fill(environment, host, rows, scale, say), live)
        return dict(sorted(item for counts in found for item in counts.items()))


def _fill(
    env: environment.Environment, host: environment.Database, rows: Shape, scale: float, say: Callable[[str], None]
) -> dict[str, int]:
    with psycopg.connect(host.conninfo("rollout-seed"), autocommit=True) as connection:
        note = database.filled(connection, rows, scale)
        if note is None:
            counts = database.fill(connection, host.tier, rows, say)
            if host.tier == "queue":
                cached = [_campaign(connection, n) for n in range(min(queue_keys.CACHED_CAMPAIGNS, rows.campaigns))]
                counts |= queue_keys.fill(env.redis_of("live"), host, cached)
                say("redis keys of the queue")
            note = {"seed": rows.seed, "scale": scale, "rows": counts}
            database.write_note(connection, note)
    return note["rows"]


def _campaign(connection: database.Connection, n: int) -> str:
    row = connection.execute("select pg_temp.id('campaign', %s)::text", [n]).fetchone()
    return str(row[0]) if row else ""
