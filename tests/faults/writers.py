"""Clients that write to a case's table and to its twin in one transaction, and account for every statement that failed."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import suppress
from typing import Any

import psycopg
from cases import q
from faces import Face, Row, blue, green, twin
from plans import Plan, Planner
from psycopg import errors
from traffic import Traffic
from wide import WideWriter
from writes import Connection, Rekey, Write, key_of, parted

PAUSE_SECONDS = 0.002
CRASH_SECONDS = 20.0  # how long after a crash a lost connection is put down to it
LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)


class Parted(Exception):
    """Both sides answered one write differently."""


class Undone(Exception):
    """Leaves a savepoint that the plan rolls back."""


class Writer(threading.Thread):
    """One client. `face`: the names that it writes under; `replica`: with session_replication_role = replica."""

    def __init__(
        self, traffic: Traffic, face: Face, number: int, *, replica: bool = False, search_path: str = ""
    ) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.traffic, self.case, self.replica, self.search_path = traffic, traffic.case, replica, search_path
        self.faces = (face, twin(self.case))
        self.planner = Planner(self.case, traffic.pool, number, replica=replica)
        self.ended = threading.Event()
        self.at, self.at_write = "begin", 0
        self.connection: Connection | None = None

    def end(self) -> None:
        """Ask it to stop after its transaction, and wait."""
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                if self.connection is None or self.connection.closed:
                    self.connection = self._connect()
                plan = self.planner.plan()
                with self.traffic.moving():
                    failed = self._transact(plan)
                if failed:
                    self._explain(plan, failed)
            except Exception as error:  # noqa: BLE001  (a client that dies in silence would pass for a quiet one)
                # A plan's own rollback comes through when there is no server to roll it back.
                lost = isinstance(error, (psycopg.OperationalError, psycopg.Rollback))
                if lost or (self.connection and self.connection.closed):
                    self._lost(error)
                else:
                    self.traffic.failures.append(f"{self.name}: {traceback.format_exc()}")
            time.sleep(PAUSE_SECONDS)
        if self.connection:
            self.connection.close()

    def _connect(self) -> Connection:
        # Prepared from the first execution on, and kept over the swap, as a pooled client's statements are.
        connection = psycopg.connect(self.traffic.conninfo, autocommit=True, prepare_threshold=0)
        connection.prepared_max = 500
        if self.replica:
            connection.execute("SET session_replication_role = replica")
        if self.search_path:
            connection.execute("SELECT set_config('search_path', %s, false)", (self.search_path,))
        return connection

    def _lost(self, error: Exception) -> None:
        if time.monotonic() - self.traffic.crashed_at > CRASH_SECONDS:
            self.traffic.failures.append(f"{self.name}: lost its connection at {self.at}: {error!r}")
        self.connection = None
        time.sleep(0.1)

    def _transact(self, plan: Plan) -> psycopg.Error | None:
        """Run a transaction on both sides; return the error that ended it."""
        assert self.connection is not None
        came: list[tuple[Write, list[Row]]] = []
        try:
            with self.connection.transaction():
                if plan.repeatable:
                    self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                for number, write in enumerate(plan.writes):
                    self.at_write = number
                    if number not in plan.savepoints:
                        came.append((write, self._both(write)))
                        continue
                    with suppress(Undone), self.connection.transaction():
                        rows = self._both(write)
                        if plan.savepoints[number]:
                            raise Undone
                        came.append((write, rows))
                self.at = "commit"
                if plan.rollback:
                    raise psycopg.Rollback
        except Parted as parts:
            self.traffic.failures.append(f"{self.name}: {self._said(plan)} {parts}")
            return None
        except psycopg.OperationalError as error:
            if self.connection.closed or isinstance(error, LOST):
                raise
            return error
        except psycopg.Error as error:
            return error
        if not plan.rollback:
            self._keep(came)
        self.traffic.counts["rolled back" if plan.rollback else "committed"] += 1
        return None

    def _both(self, write: Write) -> list[Row]:
        """Do a write on both sides; raise Parted when they answer differently."""
        assert self.connection is not None
        first, second = self.faces
        if self.case.profile.twin_first and not write.subject_first:
            first, second = second, first
        self.at = "first"
        rows = write.run(self.connection, first)
        self.at = "second"
        again = write.run(self.connection, second, rows)
        different = list(parted(rows, again))
        if different:
            raise Parted("; ".join(different[:5]))
        self.traffic.counts[type(write).__name__] += 1
        return rows

    def _keep(self, came: list[tuple[Write, list[Row]]]) -> None:
        for write, rows in came:
            if type(write).__name__ in ("Insert", "Rekey", "Delete"):
                keys = [key_of(self.case, row) for row in rows]
                for key in keys:
                    (self.traffic.pool.gone if type(write).__name__ == "Delete" else self.traffic.pool.keys.append)(key)
            if isinstance(write, Rekey):
                for old, _ in write.pairs:
                    self.traffic.pool.gone(old)

    def _explain(self, plan: Plan, error: psycopg.Error) -> None:
        """Account for a failed transaction: fine, when the twin alone fails likewise; else it is a failure."""
        traffic, state = self.traffic, error.sqlstate or ""
        traffic.counts[f"error {state}"] += 1
        if state == "53100" and traffic.full:
            return
        if state == "40001" and plan.repeatable:
            return
        if state == "40P01" and not self.case.profile.single:
            return
        if self.at == "first" and self.faces_first_is_twin(plan):
            return
        if self.at == "second":
            traffic.failures.append(f"{self.name}: only the second side refused: {self._said(plan)} {error!r}")
            return
        if _alike(self._alone(plan, twin(self.case)), state):
            return
        # The twin did not fail: another client may have committed in between. With nobody else there, both sides must agree.
        with traffic.still():
            subject, other = self._alone(plan, self.faces[0]), self._alone(plan, twin(self.case))
        if not _alike(subject, other):
            traffic.failures.append(
                f"{self.name}: {subject or 'no error'}, the twin {other or 'no error'}: {self._said(plan)} {error!r}"
            )
        else:
            traffic.counts[f"explained by a race {state}"] += 1

    def faces_first_is_twin(self, plan: Plan) -> bool:
        """Whether the write at hand went to the twin first."""
        return self.case.profile.twin_first and not plan.writes[self.at_write].subject_first

    def _alone(self, plan: Plan, face: Face) -> str:
        """Run a plan on one side and take it back; return its SQLSTATE, or nothing."""
        assert self.connection is not None
        try:
            with self.connection.transaction():
                for number, write in enumerate(plan.writes):
                    if plan.savepoints.get(number):
                        with self.connection.transaction(force_rollback=True):
                            write.run(self.connection, face)
                    else:
                        write.run(self.connection, face)
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                raise psycopg.Rollback
        except psycopg.Error as error:
            if self.connection.closed:
                raise
            return error.sqlstate or ""
        return ""

    def _said(self, plan: Plan) -> str:
        write: Any = plan.writes[self.at_write]
        shown = {k: v for k, v in vars(write).items() if k != "case"} if hasattr(write, "__dict__") else write
        level = "REPEATABLE READ" if plan.repeatable else "READ COMMITTED"
        what = f"{type(write).__name__} {str(shown)[:600]} as {self.faces[0].relation}"
        return f"at {self.at} of write {self.at_write} ({level}) {what}:"


class Writers:
    """The blue clients of a case and, while there is a target to write to, the green ones."""

    def __init__(self, traffic: Traffic, clients: int = 3) -> None:
        case = traffic.case
        self.traffic, self.case = traffic, case
        self.blue = [
            Writer(traffic, blue(case), n, replica=case.profile.replica and n == clients - 1) for n in range(clients)
        ]
        self.green: list[Writer | WideWriter] = []
        self.rounds = 0
        for writer in self.blue:
            writer.start()

    def start_green(self) -> None:
        """Let clients of the new release begin, under the target's names."""
        case, path = self.case, f"{q(self.case.target_schema)}, {q(self.case.schema)}"
        started = (
            [Writer(self.traffic, green(self.case), 10 + len(self.green), search_path=path)]
            if self.case.profile.green
            else []
        )
        if case.profile.wide:
            started.append(WideWriter(self.traffic, green(case), 100 + self.rounds, path))
            self.rounds += 1
        for writer in started:
            writer.start()
        self.green += started

    def stop_green(self) -> None:
        """End the clients of the new release, as a rollback does before the schema goes back."""
        while self.green:
            self.green.pop().end()

    def stop_blue(self) -> None:
        """End the clients of the old release, as finalize does before contract."""
        while self.blue:
            self.blue.pop().end()

    def stop(self) -> None:
        self.stop_green()
        self.stop_blue()


def _alike(one: str, other: str) -> bool:
    """Whether two outcomes are the same refusal: which of several broken rules is named first depends on the order of rows."""
    rules = ("23001", "23502", "23503", "23505", "23514", "23P01", "42501")
    return one == other or (one in rules and other in rules)
