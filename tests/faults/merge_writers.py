"""Clients of two tables that become one: they write under both old names, and the new one, and tell the twin what came of it."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
from cases import q
from merges import OWNED, SIDES, Merge, Row, new_row
from psycopg import errors
from traffic import Traffic
from universe import TWIN, value

PAUSE_SECONDS = 0.002
CRASH_SECONDS = 20.0
LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
SHARED = 200
OWN = 2000
Key = tuple[str | None, ...]
Connection = psycopg.Connection[Any]


class Undone(Exception):
    """Leaves a savepoint that is rolled back on purpose."""


class MergeWriter(threading.Thread):
    """One client; `green`: under the new name. `standing`: sides and keys that probably stand, shared by all."""

    def __init__(
        self, merge: Merge, traffic: Traffic, standing: list[tuple[str, Key]], number: int, *, green: bool
    ) -> None:
        super().__init__(name=f"merge-writer-{number}", daemon=True)
        self.merge, self.traffic, self.standing, self.number, self.green = merge, traffic, standing, number, green
        self.chance, self.case, self.made = random.Random(merge.seed * 31 + number), merge.table, 0
        self.ended = threading.Event()
        self.connection: Connection | None = None
        self.said = ""
        self.tried: tuple[str, list[str | None], str, Key] = ("", [], "", ())
        self.names = {name: merge.rename.get(name, name) if green else name for name in merge.names}

    def end(self) -> None:
        """Ask it to stop after its transaction, and wait."""
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                if self.connection is None or self.connection.closed:
                    self.connection = psycopg.connect(self.traffic.conninfo, autocommit=True, prepare_threshold=0)
                    self.connection.execute("SELECT set_config('search_path', 'v2, public', false)")
                with self.traffic.moving():
                    failed = self._transact(self.connection)
                if failed and not ("23505" in failed and "insert" in failed and self._taken(self.connection)):
                    self.traffic.failures.append(f"{self.name}: {failed}")
            except Exception as error:  # noqa: BLE001  (a client that dies in silence would pass for a quiet one)
                lost = isinstance(error, (psycopg.OperationalError, psycopg.Rollback))
                if not (lost or (self.connection and self.connection.closed)):
                    self.traffic.failures.append(f"{self.name}: {self.said} {traceback.format_exc()[-1500:]}")
                elif time.monotonic() - self.traffic.crashed_at > CRASH_SECONDS:
                    self.traffic.failures.append(f"{self.name}: lost its connection at {self.said}: {error!r}")
                else:
                    self.connection = None
                    time.sleep(0.1)
            time.sleep(PAUSE_SECONDS)
        if self.connection:
            self.connection.close()

    def _transact(self, connection: Connection) -> str:
        """Run a transaction; return what has to be explained, if anything."""
        chance = self.chance
        repeatable, back = chance.random() < 0.3, chance.random() < 0.08
        came: list[tuple[str, Key]] = []
        try:
            with connection.transaction():
                if repeatable:
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                for _ in range(chance.choice((1, 1, 2, 3))):
                    if chance.random() < 0.2:
                        with suppress(Undone), connection.transaction():
                            self._write(connection, [])
                            raise Undone
                    self._write(connection, came)
                if back:
                    raise psycopg.Rollback
        except psycopg.Error as error:
            if connection.closed or isinstance(error, LOST):
                raise
            self.traffic.counts[f"error {error.sqlstate}"] += 1
            # Two tables that become one have one lock order less; both are what a client has to repeat anyhow.
            if error.sqlstate == "40P01" or (error.sqlstate == "40001" and repeatable):
                return ""
            return f"{error.sqlstate} {self.said} {'RR' if repeatable else 'RC'} {error!r}"
        self.traffic.counts["rolled back" if back else "committed"] += 1
        if not back:
            self.standing.extend(came)
        return ""

    def _taken(self, connection: Connection) -> bool:
        """Whether the insert that failed may: with nobody else there it does just when its key stands in the twin."""
        query, given, side, key = self.tried
        with self.traffic.still():
            failed = False
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(query.encode(), given)
            except errors.UniqueViolation:
                failed = True
            stands = any(self._stands(connection, s, key) for s in (SIDES if self.green else (side,)))
        self.traffic.counts["key taken" if stands else "key was taken"] += 1
        return failed == stands

    def _key(self, row: Row) -> Key:
        return tuple(row[name] for name in self.merge.key)

    def _some(self) -> tuple[str, Key]:
        hot = self.standing[-60:] if self.chance.random() < 0.4 else self.standing
        return self.chance.choice(hot)

    def _number(self, *, own: bool) -> int:
        if own:
            self.made += 1
            return 2 * self.merge.rows + SHARED + self.number * OWN + self.made % OWN
        return 2 * self.merge.rows + self.chance.randrange(SHARED)

    def _write(self, connection: Connection, came: list[tuple[str, Key]]) -> None:
        dice = self.chance.random()
        act: Callable[[Connection, str, Key], Key | None]
        side, key = self._some()
        if self.chance.random() < 0.15:
            side = self.chance.choice(SIDES)  # it may not stand there
        act = (
            self._insert if dice < 0.3 else self._update if dice < 0.65 else self._remove if dice < 0.8 else self._rekey
        )
        self.traffic.counts[act.__name__] += 1
        made = act(connection, side, key)
        if made:
            came.append((side, made))

    def _relation(self, side: str) -> str:
        return q(SIDES[0]) if self.green else f"public.{q(side)}"

    def _do(self, connection: Connection, query: str, given: list[str | None]) -> list[Row]:
        cursor = connection.execute(query.encode(), given)
        result = cursor.pgresult
        assert result is not None
        back = {named: name for name, named in self.names.items()}
        fields = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        texts = ([result.get_value(r, n) for n in range(result.nfields)] for r in range(result.ntuples))
        return [
            {
                back.get(name, name): text if text is None else text.decode()
                for name, text in zip(fields, row, strict=True)
            }
            for row in texts
        ]

    def _listed(self) -> str:
        return ", ".join(q(name) for name in self.names.values())

    def _where(self, names: dict[str, str]) -> str:
        return " AND ".join(f"{q(names[k])} = %s" for k in self.merge.key)

    def _insert(self, connection: Connection, side: str, key: Key) -> Key | None:
        del key
        chance, merge = self.chance, self.merge
        row = new_row(merge, self.case, chance, self._number(own=chance.random() < 0.4))
        conflict = chance.choice(("", "DO NOTHING", "DO UPDATE"))
        if self.green:
            side, conflict = SIDES[1] if row[merge.owner] == OWNED else SIDES[0], ""
        names, counter = self.names, q(self.names[merge.counter])
        sets = {"": "", "DO NOTHING": " DO NOTHING"}.get(conflict)
        if sets is None:
            word = q(names[merge.word])
            sets = f" DO UPDATE SET {counter} = coalesce(here.{counter}, 0) + 1, {word} = excluded.{word}"
        if conflict:
            sets = f" ON CONFLICT ({', '.join(q(names[k]) for k in merge.key)}){sets}"
        self.said = f"insert {conflict} {side} {self._key(row)} green={self.green}"
        places = ", ".join("%s" for _ in row)
        query = (
            f"INSERT INTO {self._relation(side)} AS here ({', '.join(q(names[n]) for n in row)}) VALUES ({places})"
            f"{sets} RETURNING {', '.join(f'here.{q(n)}' for n in names.values())}"
        )
        self.tried = (query, list(row.values()), side, self._key(row))
        told = self._do(connection, query, list(row.values()))
        if not told:
            return None
        # Asked by inserting: to REPEATABLE READ a row that has gone since its snapshot still seems to be there.
        twin = f"INSERT INTO {TWIN}.{q(side)} ({', '.join(map(q, row))}) VALUES ({places}) ON CONFLICT DO NOTHING"
        if connection.execute(twin.encode(), list(row.values())).rowcount:
            return self._key(row)
        if conflict != "DO UPDATE":
            self.traffic.failures.append(f"{self.name}: {self.said}: it stands in the twin")
        self._tell(
            connection, side, self._key(row), {merge.counter: told[0][merge.counter], merge.word: row[merge.word]}
        )
        return None

    def _update(self, connection: Connection, side: str, key: Key) -> Key | None:
        chance, merge = self.chance, self.merge
        free = [c for c in merge.columns if c.name not in merge.key]
        sets: Row = {}
        for column in chance.sample(free, chance.randint(1, min(3, len(free)))):
            sets[column.name] = None if chance.random() < 0.2 else value(self.case, column, chance, 0)
        count = merge.counter not in sets and chance.random() < 0.5
        assigned = [f"{q(self.names[name])} = %s" for name in sets]
        assigned += (
            [f"{q(self.names[merge.counter])} = coalesce({q(self.names[merge.counter])}, 0) + 1"] if count else []
        )
        self.said = f"update {side} {key} {str(sets)[:200]} green={self.green}"
        where = self._where(self.names)
        query = f"UPDATE {self._relation(side)} SET {', '.join(assigned)} WHERE {where} RETURNING {self._listed()}"
        told = self._do(connection, query, [*sets.values(), *key])
        self._agree(connection, side, key, told)
        if told:
            sets |= {name: told[0][name] for name in [*sets, merge.counter]}
            if not count and merge.counter not in assigned:
                sets = {
                    name: text
                    for name, text in sets.items()
                    if name != merge.counter or f"{q(self.names[name])} = %s" in assigned
                }
            self._tell(connection, side, key, sets)
        return None

    def _rekey(self, connection: Connection, side: str, key: Key) -> Key | None:
        row = new_row(self.merge, self.case, self.chance, self._number(own=True))
        new = self._key(row)
        self.said = f"rekey {side} {key} to {new} green={self.green}"
        assigned = ", ".join(f"{q(self.names[k])} = %s" for k in self.merge.key)
        query = (
            f"UPDATE {self._relation(side)} SET {assigned} WHERE {self._where(self.names)} RETURNING {self._listed()}"
        )
        told = self._do(connection, query, [*new, *key])
        self._agree(connection, side, key, told)
        if not told:
            return None
        plain = {k: k for k in self.merge.key}
        sets = ", ".join(f"{q(k)} = %s" for k in self.merge.key)
        for which in SIDES if self._swapped(connection) else (side,):
            query = f"UPDATE {TWIN}.{q(which)} SET {sets} WHERE {self._where(plain)}"
            connection.execute(query.encode(), [*new, *key])
        return new

    def _remove(self, connection: Connection, side: str, key: Key) -> Key | None:
        self.said = f"delete {side} {key} green={self.green}"
        query = f"DELETE FROM {self._relation(side)} WHERE {self._where(self.names)} RETURNING {self._listed()}"
        told = self._do(connection, query, list(key))
        self._agree(connection, side, key, told)
        if told:
            plain = {k: k for k in self.merge.key}
            for which in SIDES if self.green else (side,):
                connection.execute(f"DELETE FROM {TWIN}.{q(which)} WHERE {self._where(plain)}".encode(), list(key))
        return None

    def _agree(self, connection: Connection, side: str, key: Key, told: list[Row]) -> None:
        """Note a failure when a row that came back does not stand in the twin."""
        if told and not any(self._stands(connection, s, key) for s in (SIDES if self.green else (side,))):
            self.traffic.failures.append(f"{self.name}: {self.said}: it does not stand in the twin")

    def _stands(self, connection: Connection, side: str, key: Key) -> bool:
        plain = {k: k for k in self.merge.key}
        query = f"SELECT FROM {TWIN}.{q(side)} WHERE {self._where(plain)}"
        return bool(connection.execute(query.encode(), list(key)).rowcount)

    def _swapped(self, connection: Connection) -> bool:
        """Whether the row just written is the merged one. The lock that the write took keeps it so; names are never stale."""
        row = connection.execute(f"SELECT {TWIN}.swapped()".encode()).fetchone()
        assert row
        return bool(row[0])

    def _tell(self, connection: Connection, side: str, key: Key, sets: Row) -> None:
        """Update the twin: its one table, or, after the swap, in both what differs from the row that was shown."""
        plain = {k: k for k in self.merge.key}
        where = self._where(plain)
        if not self._swapped(connection):
            self._assign(connection, side, key, sets)
            return
        types = {c.name: c.type for c in self.merge.columns}
        shown = next(s for s in SIDES if self._stands(connection, s, key))
        # Different as the two are written down: 1.0 and 1.00 are two values to whoever reads them.
        asked = ", ".join(f"{q(name)}::text IS DISTINCT FROM (%s::{types[name]})::text" for name in sets)
        query = f"SELECT {asked} FROM {TWIN}.{q(shown)} WHERE {where}"
        found = connection.execute(query.encode(), [*sets.values(), *key]).fetchone()
        assert found
        changed = {name: text for (name, text), differs in zip(sets.items(), found, strict=True) if differs}
        for which in SIDES if changed else ():
            self._assign(connection, which, key, changed)

    def _assign(self, connection: Connection, side: str, key: Key, sets: Row) -> None:
        assigned = ", ".join(f"{q(name)} = %s" for name in sets)
        query = f"UPDATE {TWIN}.{q(side)} SET {assigned} WHERE {self._where({k: k for k in self.merge.key})}"
        connection.execute(query.encode(), [*sets.values(), *key])


def writers(
    merge: Merge, traffic: Traffic, standing: list[tuple[str, Key]], numbers: range, *, green: bool
) -> Iterator[MergeWriter]:
    """Start clients of these numbers, no number twice, and yield them."""
    for number in numbers:
        writer = MergeWriter(merge, traffic, standing, number, green=green)
        writer.start()
        yield writer
