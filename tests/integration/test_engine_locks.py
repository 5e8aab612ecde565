"""Strong locks on real servers of every version found: each kind of blocker, the sessions that wait, who is ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from engine_servers import RUNNER, Client, Cluster, until
from servers import superuser

from rollout.engine import blockers, ledger
from rollout.engine.locks import Stalls, with_locks
from rollout.environment import Database, Settings
from rollout.errors import Refused

EXCLUSIVE = "ACCESS EXCLUSIVE"
SETTINGS = {"stall_budget_total_ms": 500, "stall_budget_once_ms": 150, "lock_attempts_max": 8,
            "blocker_transaction_max_seconds": 0.2, "blocker_wait_max_seconds": 0.6, "terminate_blockers": False}  # fmt: skip
SLOW = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 0"
VACUUMED = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%public.t{}'"


@pytest.fixture
def table(target: Database) -> Database:
    """Give a database with a table t, a partitioned table p and a view v over t."""
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("CREATE TABLE t (id int PRIMARY KEY, words text)")
        owner.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 20000) AS n")
        owner.execute("CREATE VIEW v AS SELECT * FROM t")
        owner.execute("CREATE TABLE p (id int) PARTITION BY RANGE (id)")
        owner.execute("CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
    return target


def ask(connection: ledger.Connection, relation: str = "public.t", mode: str = EXCLUSIVE, hold: float = 0.0,
        **settings: Any) -> Stalls:  # fmt: skip
    """Take a lock and hold it for so many seconds; return what it cost."""
    stalls = Stalls()
    given = Settings.model_construct(**SETTINGS | settings)
    with_locks(connection, [relation], mode, given, stalls, lambda: time.sleep(hold))
    return stalls


def _reader(target: Database) -> Client:
    return Client(target, "report").run("SELECT count(*), pg_sleep(30) FROM t")


def _idle(target: Database) -> Client:
    return Client(target, "console").execute("BEGIN; SELECT FROM t LIMIT 1")


def _writer(target: Database) -> Client:
    return Client(target, "import").execute("BEGIN; INSERT INTO t VALUES (-1)").run("SELECT pg_sleep(30)")


def _ddl(target: Database) -> Client:
    client = Client(target, "index")
    return client.execute("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE").run("SELECT pg_sleep(30)")


def _awaiting(target: Database) -> Client:
    return Client(target, "other change").run("ALTER TABLE t ADD COLUMN more int")


def _prepared(target: Database) -> Client:
    return Client(target, "manager").execute("BEGIN; INSERT INTO t VALUES (-2); PREPARE TRANSACTION 'two phases'")


def _earlier(target: Database) -> Client:
    return Client(target, "rollout").execute("BEGIN; SELECT FROM t LIMIT 1").run("SELECT pg_sleep(30)")


def _partition(target: Database) -> Client:
    return Client(target, "console").execute("BEGIN; SELECT FROM p_1")


@pytest.mark.parametrize(
    ("make", "relation", "kind"),
    [
        (_reader, "public.t", "long reader"), (_idle, "public.t", "idle in transaction"),
        (_writer, "public.t", "long writer"), (_ddl, "public.t", "other DDL"),
        (_prepared, "public.t", "prepared transaction"), (_earlier, "public.t", "our own earlier session"),
        (_partition, "public.p", "idle in transaction"), (_idle, "public.v", "idle in transaction"),
    ],
)  # fmt: skip
def test_each_kind_is_told_and_waited_for(
    table: Database, make: Callable[[Database], Client], relation: str, kind: str
) -> None:
    """A blocker of each kind is waited for without asking, refused by name, and once it is gone the lock is had."""
    with ledger.connect(table) as connection:
        with make(table) as client:
            time.sleep(0.3)
            with pytest.raises(Refused, match=kind) as refused:
                ask(connection, relation)
            told = str(refused.value)
            assert "asking 0 times" in told and "0.6 s of waiting" in told
            who = "'two phases'" if kind == "prepared transaction" else f"pid {client.pid} ({RUNNER}, "
            assert who in told
            client.connection.cancel_safe()
        if kind == "prepared transaction":
            connection.execute("ROLLBACK PREPARED 'two phases'")
        assert ask(connection, relation).attempts == 1


def test_who_awaits_a_strong_lock_is_in_the_way(table: Database) -> None:
    """Somebody's queued DDL is other DDL, and said to wait itself for the reader before it."""
    with ledger.connect(table) as connection, _reader(table) as reader:
        until(table, f"SELECT count(*) > 0 FROM pg_locks WHERE pid = {reader.pid} AND relation = 't'::regclass")
        with _awaiting(table) as other:
            time.sleep(0.4)
            with pytest.raises(Refused, match=f"pid {other.pid} .*other DDL, itself waiting for pid {reader.pid}"):
                ask(connection)
            reader.connection.cancel_safe()
            other.wait()


def test_readers_do_not_stand_in_the_way_of_a_lock_that_lets_them_read(table: Database) -> None:
    """Only modes that conflict count: a long reader does not keep us from SHARE ROW EXCLUSIVE."""
    with ledger.connect(table) as connection, _reader(table):
        time.sleep(0.3)
        assert ask(connection, mode="SHARE ROW EXCLUSIVE").attempts == 1


def test_work_that_wants_more_than_its_lock_then_looks_for_it(table: Database) -> None:
    """A reader in the way of what the work itself locks is asked behind once, and then waited for without asking."""
    given, stalls = Settings.model_construct(**SETTINGS), Stalls()
    with ledger.connect(table) as connection, _reader(table) as reader:
        time.sleep(0.3)
        drop = lambda: connection.execute("ALTER TABLE t ALTER words SET DEFAULT ''")
        with pytest.raises(Refused, match=f"asking 1 times.* pid {reader.pid} "):
            with_locks(connection, ["public.t"], "SHARE ROW EXCLUSIVE", given, stalls, drop)


@contextmanager
def vacuumed(target: Database, *, wraparound: bool = False) -> Iterator[None]:
    """Have an autovacuum at work on t that takes minutes."""
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute(f"ALTER TABLE t SET ({SLOW}, autovacuum_enabled = {not wraparound})".encode())
        if wraparound:
            owner.execute("DO $$ BEGIN FOR n IN 1..100001 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
        else:
            owner.execute("DELETE FROM t WHERE id % 2 = 0")
    until(target, VACUUMED.format("%wraparound%" if wraparound else ""))
    yield


def test_an_autovacuum_is_waited_for_where_the_budget_is_short(table: Database) -> None:
    """It yields only after deadlock_timeout (1 s): with 150 ms in one go we do not even ask, and it works on."""
    with ledger.connect(table) as connection, vacuumed(table):
        with pytest.raises(Refused, match=r"asking 0 times.*autovacuum worker.*; autovacuum\).*% scanned") as refused:
            ask(connection)
        assert "GRANT SET ON PARAMETER deadlock_timeout" in str(refused.value)
        until(table, VACUUMED.format(""))


def test_an_autovacuum_yields_where_the_budget_allows(table: Database) -> None:
    """With more than deadlock_timeout in one go it is asked once, for a little longer than that, and gives way."""
    with ledger.connect(table) as connection, vacuumed(table):
        stalls = ask(connection, stall_budget_once_ms=1200, stall_budget_total_ms=1500)
        assert (stalls.attempts, [one.kind for one in stalls.met.values()]) == (1, ["autovacuum"])
        assert stalls.stalled_ms > 900


def test_an_autovacuum_yields_at_once_to_who_may_set_deadlock_timeout(table: Database) -> None:
    """A role with that right has it cancelled within the budget that clients are used to."""
    with superuser(table.port) as root:
        root.execute(f"GRANT SET ON PARAMETER deadlock_timeout TO {RUNNER}".encode())
        try:
            with ledger.connect(table) as connection, vacuumed(table):
                stalls = ask(connection)
            assert (stalls.attempts, stalls.stalled_ms < 500) == (1, True)
        finally:
            root.execute(f"REVOKE SET ON PARAMETER deadlock_timeout FROM {RUNNER}".encode())


def test_a_vacuum_against_wraparound_is_never_asked(table: Database) -> None:
    """It would not yield: whatever the budget allows, we only wait, and say come back later."""
    with ledger.connect(table) as connection, vacuumed(table, wraparound=True):
        with pytest.raises(Refused, match=r"asking 0 times.*wraparound autovacuum.*come back later"):
            ask(connection, stall_budget_once_ms=1200, stall_budget_total_ms=1500)
        until(table, VACUUMED.format("%wraparound%"))


@pytest.mark.parametrize(("make", "ended"), [(_reader, True), (_idle, True), (_writer, False), (_ddl, False),
                                             (_prepared, False), (_earlier, False)])  # fmt: skip
def test_only_idle_sessions_and_readers_are_ended_and_only_when_told(
    table: Database, make: Callable[[Database], Client], ended: bool
) -> None:
    """With terminate_blockers, after the wait, readers and idle sessions are ended and journaled; nobody else ever is."""
    stalls, given = Stalls(), Settings.model_construct(**SETTINGS | {"terminate_blockers": True})
    with ledger.connect(table) as connection, make(table) as client:
        time.sleep(0.3)
        act = lambda: with_locks(connection, ["public.t"], EXCLUSIVE, given, stalls, lambda: None)
        if ended:
            act()
            assert [(e["pid"], e["outcome"]) for e in stalls.to_dict()["ended"]] == [(client.pid, "ended")]
        else:
            with pytest.raises(Refused):
                act()
            assert stalls.ended == []
        alive = connection.execute("SELECT count(*) AS n FROM pg_stat_activity WHERE pid = %s", (client.pid,)).fetchone()
        assert alive == {"n": 0 if ended else 1}


def test_a_session_that_moved_on_is_not_ended(table: Database) -> None:
    """Between the look and the order the session began another transaction: the order does nothing."""
    with ledger.connect(table) as connection, _idle(table) as client:
        oid = connection.execute("SELECT 't'::regclass::oid AS oid").fetchone()
        assert oid is not None
        found = blockers.find(connection, [oid["oid"]], EXCLUSIVE, 0.0)
        client.execute("COMMIT").execute("BEGIN; SELECT FROM t LIMIT 1")
        assert [e["outcome"] for e in blockers.end(connection, found)] == ["it had moved on"]
        client.execute("COMMIT")


def test_the_sessions_behind_us_are_counted(table: Database) -> None:
    """Readers behind the lock, and who waits behind one of them in turn, count with the time that they waited."""
    with ExitStack() as stack, ledger.connect(table) as connection:
        clients = [stack.enter_context(Client(table)) for _ in range(5)]
        first, second = (stack.enter_context(Client(table)) for _ in range(2))
        other = stack.enter_context(Client(table)).execute("CREATE TABLE u (id int)")
        other.execute("INSERT INTO u VALUES (1)")

        def come() -> None:
            time.sleep(0.1)
            for client in clients:
                client.run("SELECT count(*) FROM t")
            first.execute("BEGIN; UPDATE u SET id = 2")
            first.run("SELECT count(*) FROM t")  # waits for us, with a row that the next one waits for
            second.run("UPDATE u SET id = 3")

        coming = threading.Thread(target=come)
        coming.start()
        stalls = ask(connection, hold=0.5)
        coming.join()
        for client in (*clients, first):
            client.wait()
        first.execute("COMMIT")
        second.wait()
        assert stalls.sessions == 7
        assert 300 < stalls.longest_wait_ms <= stalls.longest_ms
        assert 7 * 300 < stalls.waited_ms <= 7 * stalls.longest_ms
        assert stalls.held_ms <= stalls.stalled_ms


def test_who_waits_for_somebody_else_is_not_ours(table: Database) -> None:
    """Sessions that wait for a row of another session do not count."""
    with ledger.connect(table) as connection, Client(table) as one, Client(table) as two:
        one.execute("CREATE TABLE u (id int)").execute("INSERT INTO u VALUES (1)").execute("BEGIN; UPDATE u SET id = 2")
        two.run("UPDATE u SET id = 3")
        until(table, f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {two.pid}")
        stalls = ask(connection, hold=0.1)
        assert (stalls.sessions, stalls.waited_ms, stalls.unseen) == (0, 0.0, 0)
        one.execute("COMMIT")


def test_asking_makes_clients_wait_and_that_is_counted_too(table: Database) -> None:
    """Behind a young transaction we queue for the lock: who comes then waits for us, though we hold nothing yet."""
    with ledger.connect(table) as connection, Client(table) as young, Client(table) as client:
        young.execute("BEGIN; SELECT FROM t LIMIT 1")
        late = threading.Timer(0.15, lambda: client.run("SELECT count(*) FROM t"))
        late.start()
        with pytest.raises(Refused, match=r"1 sessions waited.* ms at most.*idle in transaction"):
            ask(connection, stall_budget_once_ms=400, stall_budget_total_ms=300, blocker_transaction_max_seconds=60.0)
        late.join()
        client.wait()


HOLDER = """
import json, sys
from rollout.engine import ledger
from rollout.engine.locks import Stalls, with_locks
from rollout.environment import Database, Settings
with ledger.connect(Database(**json.loads(sys.argv[1]))) as connection:
    settings = Settings.model_construct(**json.loads(sys.argv[2]))
    hold = lambda: connection.execute("SELECT pg_sleep(30)")
    with_locks(connection, ["public.t"], "ACCESS EXCLUSIVE", settings, Stalls(), hold)
"""


def test_a_killed_runner_lets_go_within_its_budget(table: Database) -> None:
    """Kill -9 under the lock: the server goes on for what was left of one go, we wait for our earlier self, then go on."""
    given = SETTINGS | {"stall_budget_once_ms": 2000}
    argv = [sys.executable, "-c", HOLDER, json.dumps(table.model_dump()), json.dumps(given)]
    runner = subprocess.Popen(argv)
    try:
        sleeps = "query = 'SELECT pg_sleep(30)' AND datname = current_database()"
        until(table, f"SELECT count(*) > 0 FROM pg_stat_activity WHERE {sleeps}")
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    with ledger.connect(table) as connection:
        stalls = ask(connection, blocker_wait_max_seconds=20.0)
    assert (stalls.attempts, [one.kind for one in stalls.met.values()]) == (1, ["our own earlier session"])


def test_without_a_second_connection_it_goes_on(cluster: Cluster, table: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody can look, the attempt counts in full and says that it was not seen."""

    def none_left(*_: object) -> None:
        raise psycopg.OperationalError("too many clients")

    monkeypatch.setattr("rollout.engine.waiters.beside", none_left)
    with ledger.connect(table) as connection:
        stalls = ask(connection, hold=0.05)
    assert (stalls.unseen, stalls.sessions, stalls.stalled_ms >= 50) == (1, 0, True)
