"""The same writes go to a table under change and to one that is left alone: after every step EXCEPT is empty, either way."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import psycopg
import pytest
from rewrite_place import Place
from servers import Server

ACCOUNTS, CLIENTS, STEP_SECONDS = 3000, 4, 0.4
TABLE = """
CREATE TABLE {name} (
    id integer PRIMARY KEY, branch integer NOT NULL, balance numeric NOT NULL DEFAULT 0, note text, seen timestamptz
);
INSERT INTO {name} SELECT n, n % 10, n, 'n' || n FROM generate_series(1, {rows}) AS n;
"""
# A pgbench's mix; every transaction runs each of its statements on both tables. Moving money keeps the sum.
MIX = {
    "UPDATE {} SET balance = balance + %(delta)s, seen = now() WHERE id = %(one)s": 40,
    "UPDATE {} SET note = NULL WHERE id = %(one)s": 5,
    "UPDATE {} SET id = %(new)s WHERE id = %(one)s AND NOT EXISTS (SELECT FROM {} WHERE id = %(new)s)": 10,
    "DELETE FROM {} WHERE id = %(one)s": 10,
    "INSERT INTO {} (id, branch, note) VALUES (%(new)s, %(delta)s, 'new')"
    " ON CONFLICT (id) DO UPDATE SET note = excluded.note, balance = {}.balance + 1": 25,
    "SELECT * FROM {} WHERE id = %(one)s FOR UPDATE": 10,
}
CHANGES = {
    "as it is": {"sources": [{"table": "public.accounts"}]},
    "another shape": {
        "sources": [{"table": "public.accounts", "rename": {"note": "remark"}, "from": {"rich": "balance > 1500"}}],
        "target": {"columns": {"id": "bigint", "rich": "boolean"}},
    },
    "partitioned": {
        "sources": [{"table": "public.accounts"}],
        "target": {"partition": {"by": "hash", "columns": ["id"], "partitions": {
            f"accounts_{n}": f"FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)}}},
    },
}  # fmt: skip


class Client(threading.Thread):
    """Writes to both tables in one transaction, without pause; what fails is kept."""

    def __init__(self, place: Place, number: int, ended: threading.Event) -> None:
        super().__init__()
        self.place, self.chance, self.ended = place, random.Random(number), ended
        self.failed: list[str] = []
        self.done = 0

    def run(self) -> None:
        with self.place.app() as connection:
            while not self.ended.is_set():
                try:
                    self.transact(connection)
                except psycopg.Error as error:
                    self.failed.append(repr(error))
                self.done += 1
                time.sleep(0.001)

    def transact(self, connection: psycopg.Connection) -> None:
        """Run one statement of the mix on both: the table's row lock, taken first, guards the twin's row."""
        (statement,) = self.chance.choices(list(MIX), list(MIX.values()))
        values = {
            "one": self.chance.randint(1, ACCOUNTS),
            "new": self.chance.randint(1, 2 * ACCOUNTS),
            "delta": self.chance.randint(0, 9),
        }
        with connection.transaction():
            # Which rows stand must not change between the two statements; who holds these numbers decides.
            for number in sorted({values["one"], values["new"]}):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (number,))
            for table in ("accounts", "twin"):
                connection.execute(statement.replace("{}", table).encode(), values)


@pytest.mark.parametrize("declared", CHANGES.values(), ids=CHANGES)
def test_twin(server: Server, tmp_path: Path, declared: dict) -> None:
    """Expand, swap, revert, expand, swap under writers: no row is on one side only, and no statement fails."""
    setup = "".join(TABLE.format(name=name, rows=ACCOUNTS) for name in ("accounts", "twin"))
    place, ended = Place.make(server, tmp_path, setup, **declared), threading.Event()
    clients = [Client(place, number, ended) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        with place.stages() as stages:
            for step in ("expand", "swap", "revert", "expand", "swap"):
                time.sleep(STEP_SECONDS)
                getattr(stages, step)()
                time.sleep(STEP_SECONDS)
                for one, other in (("accounts", "twin"), ("twin", "accounts")):
                    assert place.rows(f"TABLE {one} EXCEPT TABLE {other}") == [], f"after {step}"
            assert stages.compare()["differing"] == []
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert [failed for client in clients for failed in client.failed] == []
    assert sum(client.done for client in clients) > 500
