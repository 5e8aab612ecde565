"""A client of the new release that writes what only the new shape can hold, on keys of its own, and tells the twin what remains.

The old table holds such a row with NULL, or with as much of a text as fits, in place of the value; not at all if it must be
there. The twin is given just that. `twin.rejected` has the keys that
have to be in the reject ledger, in the writer's own transaction.
"""

from __future__ import annotations

import random
import threading
import time
import traceback

import psycopg
from cases import q
from faces import Face, Row, twin
from kinds import TEMPLATES
from psycopg import errors
from traffic import Traffic
from universe import TWIN, value, values
from writes import Connection, Key, key_of, where

PAUSE_SECONDS = 0.004
CRASH_SECONDS = 20.0
LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
BROKEN_RULES = ("23502", "23505", "23514", "23P01", "42501", "40P01")
FIRST = 9_000
WIDE = {"bigint": "3000000000", "integer": "40000", "text": "as long as no old client can say"}
OLD_LENGTH = 20  # what an explicit cast to the old text type leaves


class WideWriter(threading.Thread):
    """One client, see the module."""

    def __init__(self, traffic: Traffic, face: Face, number: int, search_path: str) -> None:
        super().__init__(name=f"wide-{number}", daemon=True)
        self.traffic, self.case, self.face, self.number, self.search_path = (
            traffic,
            traffic.case,
            face,
            number,
            search_path,
        )
        self.chance, self.made, self.mine = random.Random(self.case.seed * 37 + number), 0, list[Key]()
        self.ended = threading.Event()
        self.connection: Connection | None = None
        (self.column, self.type), *_ = self.case.widened.items()

    def end(self) -> None:
        """Ask it to stop after its transaction, and wait."""
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                if self.connection is None or self.connection.closed:
                    self.connection = psycopg.connect(self.traffic.conninfo, autocommit=True, prepare_threshold=0)
                    self.connection.execute("SELECT set_config('search_path', %s, false)", (self.search_path,))
                with self.traffic.moving():
                    self._transact(self.connection)
            except Exception as error:  # noqa: BLE001  (a client that dies in silence would pass for a quiet one)
                if isinstance(error, psycopg.OperationalError) or (self.connection and self.connection.closed):
                    if time.monotonic() - self.traffic.crashed_at > CRASH_SECONDS:
                        self.traffic.failures.append(f"{self.name}: lost its connection: {error!r}")
                    self.connection = None
                    time.sleep(0.1)
                else:
                    self.traffic.failures.append(f"{self.name}: {traceback.format_exc()[-2500:]}")
            time.sleep(PAUSE_SECONDS)
        if self.connection:
            self.connection.close()

    def _transact(self, connection: Connection) -> None:
        dice, wide = self.chance.random(), self.chance.random() < 0.6
        made: Key | None = None
        key = self.chance.choice(self.mine) if self.mine else None
        try:
            with connection.transaction():
                if key is None or dice < 0.5:
                    made = self._insert(connection, wide=wide)
                elif dice < 0.85 and self.column not in self.case.key:
                    self._update(connection, key, wide=wide)
                elif dice >= 0.85:
                    self._delete(connection, key)
        except psycopg.Error as error:
            if connection.closed or isinstance(error, LOST):
                raise
            if error.sqlstate not in BROKEN_RULES:
                raise
            self.traffic.counts[f"wide error {error.sqlstate}"] += 1
            return
        if made:
            self.mine.append(made)

    def _value(self, *, wide: bool) -> str | None:
        if wide:
            return WIDE[self.type]
        self.made += 1
        return value(self.case, self.case.column(self.column), self.chance, FIRST + self.number * 500 + self.made % 500)

    def _insert(self, connection: Connection, *, wide: bool) -> Key:
        case = self.case
        self.made += 1
        row = values(case, self.chance, FIRST + self.number * 500 + self.made % 500)
        row |= {c.name: value(case, c, self.chance, FIRST + self.made) for c in case.columns if c.filled == "server"}
        row |= {case.lookup: None} if case.lookup else {}
        if wide and self.column in case.key and WIDE[self.type].isdigit():
            row[self.column] = str(int(WIDE[self.type]) + self.number * 10**6 + self.made)
        elif wide and self.column in case.key:
            row[self.column] = f"{WIDE[self.type]} {self.number} {self.made}"
        elif wide:
            row[self.column] = WIDE[self.type]
        given = self.face.given(row)
        columns = ", ".join(given).replace("%", "%%")
        numbered = any(c.filled == "server" and c.kind != "serial" for c in case.columns)
        query = (
            f"INSERT INTO {self.face.relation.replace('%', '%%')} ({columns}) {'OVERRIDING SYSTEM VALUE ' if numbered else ''}"
            f"VALUES ({', '.join('%s' for _ in given)}) RETURNING {self.face.returning()}"
        )
        told = self.face.run(connection, query, list(given.values()))
        self._tell(connection, told[0])
        return key_of(case, told[0])

    def _update(self, connection: Connection, key: Key, *, wide: bool) -> None:
        name, counter = (self.face.names[c].replace("%", "%%") for c in (self.column, self.case.counter))
        condition, given = where(self.case, self.face, [key])
        sets = f"{name} = %s" + (f", {counter} = {counter} + 1" if counter != name else "")
        query = f"UPDATE {self.face.relation.replace('%', '%%')} SET {sets} WHERE {condition} RETURNING {self.face.returning()}"
        for row in self.face.run(connection, query, [self._value(wide=wide), *given]):
            self._tell(connection, row)

    def _delete(self, connection: Connection, key: Key) -> None:
        for face in (self.face, twin(self.case)):
            condition, given = where(self.case, face, [key])
            query = f"DELETE FROM {face.relation.replace('%', '%%')} WHERE {condition} RETURNING 1"
            if not face.run(connection, query, given) and face is self.face:
                return  # a policy keeps it
        connection.execute(f"DELETE FROM {TWIN}.rejected WHERE key = {self._text()}".encode(), list(key))
        self.mine.remove(key)

    def _text(self) -> str:
        places = ", ".join("%s::text" for _ in self.case.key)
        return places if len(self.case.key) == 1 else f"jsonb_build_array({places})::text"

    def _tell(self, connection: Connection, row: Row) -> None:
        """Give the twin what the old table holds of a row as it is now."""
        case, key = self.case, key_of(self.case, row)
        text = row[self.column]
        held = row | {c.name: TEMPLATES[c.derived[1]](row[c.derived[0]]) for c in case.columns if c.derived}
        kept = True
        if text is not None and self.type == "text":
            kept = len(text) <= OLD_LENGTH
            held[self.column] = text[:OLD_LENGTH]
        elif text is not None:
            limit = 2**15 if self.type == "integer" else 2**31
            kept = -limit <= int(text) < limit
            held[self.column] = text if kept else None
        self.traffic.counts["kept" if kept else "rejected"] += 1
        forget = f"DELETE FROM {TWIN}.rejected WHERE key = {self._text()}"
        note = f"INSERT INTO {TWIN}.rejected VALUES ({self._text()})"
        connection.execute(forget.encode(), list(key))
        if not kept:
            connection.execute(note.encode(), list(key))
        if not kept and self.type != "text" and not case.column(self.column).nullable:
            return  # nothing at all of it, not even the row without the value
        face = twin(case)
        columns = [c.name for c in case.columns if c.filled != "generated" and c.name in held]
        given = [c for c in columns if c not in case.key]
        condition, found = where(case, face, [key])
        sets = ", ".join(f"{q(c)} = %s".replace("%", "%%").replace("%%s", "%s") for c in given)
        query = f"UPDATE {face.relation.replace('%', '%%')} SET {sets} WHERE {condition} RETURNING 1"
        if face.run(connection, query, [*(held[c] for c in given), *found]):
            return
        listed = ", ".join(q(c) for c in columns).replace("%", "%%")
        query = (
            f"INSERT INTO {face.relation.replace('%', '%%')} ({listed}) OVERRIDING SYSTEM VALUE"
            f" VALUES ({', '.join('%s' for _ in columns)})"
        )
        face.run(connection, query, [held[c] for c in columns])
