"""The latency that a client sees: a small read of the table's key and a commit of its own, again and again."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

import psycopg
from psycopg import sql

from rollout.engine.companion import statement
from rollout.engine.gauges import Values
from rollout.engine.ledger import Connection

WINDOW = 10  # probes, so those of two seconds
FEWEST = 5
# What a fifth of the probes exceeded: one slow probe is chance, two in ten are pain.
SHARE = 0.8


class Probe:
    """Latencies of the last WINDOW probes, and of one that is on: a gauge whose value is asked for when it is needed."""

    settings = ("throttle_probe_latency_max_ms",)
    every_seconds = 0.2

    def __init__(self, change: str, relations: Sequence[str]) -> None:
        """`relations`: `schema.name`; the first that has a key is read."""
        self.change, self.relations = change, list(relations)
        self._query: sql.Composed | None = None
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._began: float | None = None

    def read(self, connection: Connection, at: float) -> Values:
        """Probe once, at first until there is something to judge by; the value is not returned but kept for `latency_ms`.

        A probe that times out counts with that time.
        """
        for _ in range(max(1, FEWEST - len(self._last))):
            took = self._once(connection, self._query or self._prepare(connection))
            self._last.append(took * 1000)
            if took >= self.every_seconds:
                break
        return {}

    def _once(self, connection: Connection, query: sql.Composed) -> float:
        self._began = started = time.monotonic()
        try:
            connection.execute(query)
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            self._began = None
        return time.monotonic() - started

    def latency_ms(self) -> float | None:
        """Return what a fifth of the last probes exceeded, or None before there are FEWEST. May be called by other threads."""
        began, last = self._began, sorted(self._last)
        usual = last[math.ceil(SHARE * len(last)) - 1] if len(last) >= FEWEST else None
        return usual if began is None or usual is None else max(usual, (time.monotonic() - began) * 1000)

    def _prepare(self, connection: Connection) -> sql.Composed:
        """Compose the probe: both statements go in one message, so in one transaction, and locking a row makes its commit real.

        SKIP LOCKED: a pause that is being written must not look like pain.
        """
        commit = sql.SQL("SELECT FROM rollout.controls WHERE change = {} FOR NO KEY UPDATE SKIP LOCKED").format(
            sql.Literal(self.change)
        )
        found = connection.execute(statement("probe_key"), {"relations": self.relations}).fetchone()
        if found:
            table = sql.Identifier(found["schema"], found["name"])
            columns = [sql.Identifier(column) for column in found["columns"]]
            texts = sql.SQL(", ").join(sql.SQL("{}::text").format(column) for column in columns)
            row = connection.execute(sql.SQL("SELECT ARRAY[{}] AS key FROM {} LIMIT 1").format(texts, table)).fetchone()
            if row:
                same = zip(columns, row["key"], strict=True)
                where = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(c, sql.Literal(value)) for c, value in same)
                commit = sql.SQL("SELECT FROM {} WHERE {}; {}").format(table, where, commit)
        self._query = commit
        return commit
