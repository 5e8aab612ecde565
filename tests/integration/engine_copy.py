"""A copy of a table of integers, in a thread or in a process of its own: what tests of pace and pauses run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psycopg
from servers import within

from rollout.engine import chunks, ledger
from rollout.environment import Database, Settings

NAME, WORK = "900_copy", "copy_1_t"
RELATIONS = ["public.t", "public.u"]
SETTINGS = {"chunk_target_ms": 10}
STATEMENT = """
WITH chunk AS MATERIALIZED (
    SELECT id, words FROM public.t WHERE %(after)s::int IS NULL OR id > %(after)s::int ORDER BY id LIMIT {} FOR KEY SHARE
), copied AS (
    INSERT INTO public.u SELECT id, words FROM chunk
)
SELECT (SELECT max(id)::text FROM chunk) AS last_key, (SELECT count(*) FROM chunk) AS rows{}
"""
FAST = STATEMENT.format("%(limit)s", "").encode()
SLOW = STATEMENT.format("100", ", pg_sleep(0.005)").encode()  # a second for 15,000 rows, or more


def work(*, fast: bool = False) -> chunks.Work:
    """Return the copy as chunked work; unless it is `fast` it takes time enough to see what happens meanwhile."""
    statement = FAST if fast else SLOW
    return chunks.Work(NAME, WORK, (statement, statement), relations=RELATIONS)


def prepare(target: Database, rows: int) -> None:
    """Make t with so many rows, u, which is empty, and the ledger."""
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("CREATE TABLE t (id int PRIMARY KEY, words text); CREATE TABLE u (id int PRIMARY KEY, words text)")
        owner.execute("INSERT INTO t SELECT n, repeat('x', 50) FROM generate_series(1, %s) AS n", (rows,))
        owner.execute("VACUUM ANALYZE t")
    with ledger.connect(target) as connection:
        ledger.install(connection, ledger.Fence("run", 1))


class Copy:
    """A copy in a thread, as a context manager; `lines` are what it reported, `end` returns its outcome or raises its error."""

    def __init__(self, target: Database, token: int = 1, fast: bool = False, **settings: Any) -> None:
        self.target, self.token, self.fast = target, token, fast
        self.settings = Settings.model_construct(**SETTINGS | settings)
        self.lines: list[tuple[float, str, int]] = []
        self._outcome: chunks.Done | Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def end(self, seconds: float = 60.0) -> chunks.Done:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), self.lines[-1:]
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def says(self, words: str, seconds: float = 20.0) -> None:
        """Wait for a line with these words."""

        def said() -> None:
            assert any(words in line for _, line, _ in self.lines), [self.lines[-1:], self._outcome]

        within(seconds, said)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            with ledger.connect(self.target) as connection:
                report: Callable[[str, int, float], None] = lambda work, rows, _: self.lines.append(
                    (time.monotonic(), work, rows)
                )
                fence = ledger.Fence("run", self.token)
                self._outcome = chunks.run(connection, work(fast=self.fast), fence, self.settings, report)
        except Exception as error:  # noqa: BLE001  (the test's own thread raises it)
            self._outcome = error


def process(target: Database, **settings: Any) -> subprocess.Popen[bytes]:
    """Start the copy in a process of its own."""
    program = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[3])\n"
        "from engine_copy import Copy\nfrom rollout.environment import Database\n"
        "copy = Copy(Database(**json.loads(sys.argv[1])), **json.loads(sys.argv[2]))\n"
        "with copy: copy.end()"
    )
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    argv = [sys.executable, "-c", program, json.dumps(target.model_dump()), json.dumps(settings), json.dumps(paths)]
    return subprocess.Popen(argv)


def copied(target: Database) -> int:
    """Return how many rows stand in u."""
    with psycopg.connect(target.conninfo()) as connection:
        row = connection.execute("SELECT count(*) FROM u").fetchone()
    assert row is not None
    return int(row[0])
