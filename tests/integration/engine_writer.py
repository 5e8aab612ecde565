"""Clients of the old release: they write without pause under the names as found, and every error counts."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Any, Self

import psycopg

QUEUES = ("email-sending", "warmup-processing", "bounce-processing", "analytics-daily")
MESSAGE_TABLES = ("email_messages", "content_inbox_message_refs")
CLIENTS = 4


class Writers:
    """Four clients on one database; `kept` are the keys whose insert was acknowledged and that nobody deleted."""

    def __init__(self, conninfo: str, tier: str) -> None:
        self.conninfo, self.act = conninfo, {"queue": self._jobs, "content": self._messages}[tier]
        self.errors: list[str] = []
        self.kept: set[str] = set()
        self.statements = 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop all clients and wait for them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance, mine = random.Random(number), list[str]()
        # Prepared from the first execution on: a plan that the swap invalidates must not reach the client as an error.
        with psycopg.connect(self.conninfo, autocommit=True, prepare_threshold=0) as client:
            while not self._ended.is_set():
                try:
                    self.act(client, chance, mine)
                except psycopg.Error as error:
                    self.errors.append(repr(error))
                self.statements += 1
                time.sleep(0.002)

    def _jobs(self, client: psycopg.Connection[Any], chance: random.Random, mine: list[str]) -> None:
        dice = chance.random()
        if dice < 0.3 or len(mine) < 5:
            job = str(uuid.uuid4())
            client.execute("INSERT INTO jobs (id, queue_name, payload) VALUES (%s, %s, %s)",
                           (job, chance.choice(QUEUES), f'{{"tenant_id": "{uuid.uuid4()}"}}'))  # fmt: skip
            mine.append(job)
            self.kept.add(job)
        elif dice < 0.6:
            with client.transaction():
                row = client.execute(
                    "SELECT * FROM jobs WHERE status = 'queued' ORDER BY priority LIMIT 1 FOR UPDATE SKIP LOCKED"
                ).fetchone()
                if row:
                    client.execute("UPDATE jobs SET status = 'processing', updated = now() WHERE id = %s", (row[0],))
                    client.execute("INSERT INTO job_logs (job_id, status) VALUES (%s, 'started')", (row[0],))
        elif dice < 0.75:
            client.execute(
                "UPDATE jobs SET queue_name = %s WHERE id = %s", (chance.choice(QUEUES), chance.choice(mine))
            )
        elif dice < 0.85:
            job = mine.pop(chance.randrange(len(mine)))
            self.kept.discard(job)
            client.execute("DELETE FROM jobs WHERE id = %s", (job,))
        else:
            client.execute("SELECT * FROM jobs WHERE id = %s", (chance.choice(mine),)).fetchone()

    def _messages(self, client: psycopg.Connection[Any], chance: random.Random, _mine: list[str]) -> None:
        dice, table, key = chance.random(), chance.choice(MESSAGE_TABLES), f"k{chance.randrange(1, 5000)}"
        if dice < 0.3:
            new = f"w{uuid.uuid4().hex}"
            with client.transaction():
                client.execute(
                    "INSERT INTO email_content (storage_key, tenant_id) VALUES (%s, gen_random_uuid())", (new,)
                )
                client.execute(
                    f"INSERT INTO {table} (storage_key, tenant_id, direction, parent_message_id)"
                    " VALUES (%s, gen_random_uuid(), 'inbound', %s)".encode(), (new, chance.choice((None, "nobody", "k1"))),
                )  # fmt: skip
            self.kept.add(new)
        elif dice < 0.55:
            client.execute(
                f"UPDATE {table} SET status = 'opened', updated = now() WHERE storage_key = %s".encode(), (key,)
            )
        elif dice < 0.7:
            client.execute(
                f"INSERT INTO {table} (storage_key, tenant_id, subject) VALUES (%s, gen_random_uuid(), 'both')"
                " ON CONFLICT (storage_key) DO UPDATE SET subject = excluded.subject RETURNING storage_key".encode(), (key,),
            )  # fmt: skip
        elif dice < 0.75:
            client.execute(f"DELETE FROM {table} WHERE storage_key = %s".encode(), (key,))
        else:
            client.execute(f"SELECT * FROM {table} WHERE storage_key = %s".encode(), (key,)).fetchall()
