"""The clients: a process that sends single-row statements, arriving at a constant rate, over pooled connections.

Every statement is prepared from its first execution on, none has a deadline, none is sent twice.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from rollout.bench.promises import Promises
from rollout.bench.samples import Samples
from rollout.load.schedule import arrivals

# What the clients do, in shares of a hundred.
READ, INSERT, UPDATE, DELETE = "read", "insert", "update", "delete"
MIX = {READ: 50, INSERT: 20, UPDATE: 20, DELETE: 10}
SQL = {
    READ: "SELECT id, status, email, payload, amount, revision FROM orders WHERE id = %s",
    INSERT: "INSERT INTO orders (tenant_id, status, email, subject, payload, amount, revision)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
    UPDATE: "UPDATE orders SET status = %s, revision = %s, updated_at = now() WHERE id = %s",
    DELETE: "DELETE FROM orders WHERE id = %s",
}
STATUSES = ("new", "paid", "shipped", "returned")
FAILURES_NAMED = 5
# A stalled client waits: giving up would hide how long the stall was.
FOR_EVER_SECONDS = 3600.0
Database = psycopg.AsyncConnection[Any]


@dataclass(frozen=True)
class Plan:
    """Where to, how many statements a second over how many connections, how many rows are there, and the seed."""

    conninfo: str
    rate: float
    connections: int
    rows: int
    seed: int


@dataclass
class Seen:
    """What the clients saw in all. `wrong_answers`: reads, or writes of one row, that found another row than promised."""

    samples: Samples = field(default_factory=Samples)
    acknowledged_writes: int = 0
    wrong_answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lookup: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native counts (not the samples)."""
        told = {name: value for name, value in asdict(self).items() if name not in ("samples", "failures", "lookup")}
        return {**told, **self.lookup, "failures": dict(self.failures.most_common(FAILURES_NAMED))}


def serve(pipe: Connection, plan: Plan) -> None:
    """Obey the words that come through the pipe (`run`, `pause`, `count`, `finish`) and answer each; end when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started us decides
    asyncio.run(Clients(plan).obey(pipe))


class Clients:
    """The clients of one run, their promises and what they saw."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._promises = Promises(plan.rows, self._chance)
        self._acts: dict[str, Callable[[Database], Awaitable[None]]] = {
            READ: self._read, INSERT: self._insert, UPDATE: self._update, DELETE: self._delete,
        }  # fmt: skip
        self._revision = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self.seen = Seen()

    async def obey(self, pipe: Connection) -> None:
        """Serve a pipe."""
        paused, arriving = asyncio.Event(), asyncio.create_task(asyncio.sleep(0))
        pool = AsyncConnectionPool(
            self._plan.conninfo, min_size=self._plan.connections, max_size=self._plan.connections, open=False,
            timeout=FOR_EVER_SECONDS, kwargs={"autocommit": True, "prepare_threshold": 0},
        )  # fmt: skip
        async with pool:
            await pool.wait()
            word, answer = "", 0
            while word != "finish":
                pipe.send(answer)
                try:
                    word = await asyncio.to_thread(pipe.recv)
                except EOFError:
                    return
                answer = len(self._in_flight)
                if word == "count":
                    continue
                if word == "run":
                    paused.clear()
                    arriving = asyncio.create_task(self._arrive(pool, paused))
                    continue
                paused.set()
                await arriving
                await asyncio.gather(*self._in_flight)
        with psycopg.connect(self._plan.conninfo, autocommit=True) as connection:
            self.seen.lookup = self._promises.lost(connection)
        pipe.send(self.seen)

    async def _arrive(self, pool: AsyncConnectionPool[Database], paused: asyncio.Event) -> None:
        kinds, shares = list(MIX), list(MIX.values())
        async for due, lag in arrivals(self._plan.rate, None, paused):
            act = self._acts[self._chance.choices(kinds, shares)[0]]
            task = asyncio.create_task(self._send(pool, act, due, lag))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _send(
        self, pool: AsyncConnectionPool[Database], act: Callable[[Database], Awaitable[None]], due: float, lag: float
    ) -> None:
        failed = False
        try:
            async with pool.connection() as connection:
                await act(connection)
        except psycopg.Error as error:
            failed = True
            self.seen.failures[f"{error.sqlstate or type(error).__name__} {str(error).splitlines()[0]}"] += 1
        self.seen.samples.add(due, time.monotonic() - due, lag, failed=failed)

    async def _read(self, connection: Database) -> None:
        key = self._promises.pick()
        before = self._promises.revision(key)
        row = await (await connection.execute(SQL[READ], (key,))).fetchone()
        written = key in self._promises.busy or key in self._promises.doubtful
        quiet = not written and self._promises.revision(key) == before
        self.seen.wrong_answers += quiet and (row is None or row[-1] != before)

    async def _insert(self, connection: Database) -> None:
        revision = self._next()
        values = (
            uuid.UUID(int=self._chance.getrandbits(128)), self._chance.choice(STATUSES), f"customer{revision}@example.com",
            f"Order of a client, number {revision}", Jsonb({"items": revision % 9, "note": f"{revision:032x}"}),
            revision % 1000, revision,
        )  # fmt: skip
        try:
            row = await (await connection.execute(SQL[INSERT], values)).fetchone()
        except psycopg.Error:
            self._promises.doubt(None)
            raise
        assert row is not None
        self._promises.insert(int(row[0]), revision)
        self.seen.acknowledged_writes += 1

    async def _update(self, connection: Database) -> None:
        key, revision = self._promises.pick(), self._next()
        await self._write(connection, UPDATE, (self._chance.choice(STATUSES), revision, key), key, revision)

    async def _delete(self, connection: Database) -> None:
        key = self._promises.pick()
        await self._write(connection, DELETE, (key,), key, None)

    async def _write(
        self, connection: Database, kind: str, values: tuple[Any, ...], key: int, revision: int | None
    ) -> None:
        """Write one row that must be there; only a write of just one row is a promise."""
        self._promises.busy.add(key)
        try:
            done = await connection.execute(SQL[kind], values)
        except psycopg.Error:
            self._promises.doubt(key)
            raise
        finally:
            self._promises.busy.discard(key)
        if done.rowcount == 1:
            self._promises.revisions[key] = revision
            self.seen.acknowledged_writes += 1
        else:
            self.seen.wrong_answers += 1

    def _next(self) -> int:
        self._revision += 1
        return self._revision
