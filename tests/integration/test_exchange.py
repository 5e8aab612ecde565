"""Two databases exchange their names under clients: nobody meets a name that leads nowhere, and no write is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
import servers

from rollout.environment import Database
from rollout.errors import Refused
from rollout.restoring.exchange import Exchanged, exchange, kept_name, named
from rollout.snapshots import label
from rollout.snapshots.label import Label


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    """One Postgres server."""
    started = servers.Server()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def live(server: servers.Server) -> Database:
    """A live database with a counter table, and a restored one beside it, compared."""
    name = server.database("oltp")
    for one in (name, f"{name}_new"):
        if one != name:
            with servers.superuser(server.port) as connection:
                connection.execute(f"CREATE DATABASE {one} OWNER penguin_rollout".encode())
        with psycopg.connect(server.conninfo(one), autocommit=True) as connection:
            connection.execute("CREATE TABLE writes (n bigint PRIMARY KEY)")
            connection.execute("GRANT ALL ON writes TO penguin_app")
    found = servers.database(server, "oltp", name, server.port)
    with servers.superuser(server.port) as connection:
        said = Label(snapshot="s", host=found.host, name=f"{name}_new", compared=datetime.now(UTC))
        label.write(connection, said.name, said)
    return found


def _rows(server: servers.Server, dbname: str) -> set[int]:
    with psycopg.connect(server.conninfo(dbname)) as connection:
        return {row[0] for row in connection.execute("SELECT n FROM writes")}


def test_acknowledged_writes_are_in_one_of_the_two(server: servers.Server, live: Database) -> None:
    """Clients that reconnect go on; each write that was acknowledged is in the kept database or in the new one."""
    stop, acknowledged, errors, lock = threading.Event(), set[int](), list[str](), threading.Lock()

    def write(first: int) -> None:
        n = first
        while not stop.is_set():
            try:
                with psycopg.connect(server.conninfo(live.dbname, "penguin_app"), autocommit=True) as connection:
                    while not stop.is_set():
                        connection.execute("INSERT INTO writes VALUES (%s)", (n,))
                        with lock:
                            acknowledged.add(n)
                        n += 10
            except psycopg.Error as error:
                n += 10
                with lock:
                    errors.append(str(error).strip())

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    kept = kept_name(live.dbname, datetime.now(UTC))
    done = exchange(live, f"{live.dbname}_new", kept)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert done == Exchanged(live.dbname, kept, changed=True, ended=done.ended, closed_ms=done.closed_ms)
    assert done.ended >= 4
    before, after = _rows(server, kept), _rows(server, live.dbname)
    assert before
    assert after
    assert acknowledged <= before | after
    assert not before & after
    assert not [e for e in errors if "does not exist" in e and "renamed" not in e], errors
    assert exchange(live, f"{live.dbname}_new", kept).changed is False

    again = exchange(live, kept, f"{live.dbname}_new")
    assert again.changed
    assert _rows(server, live.dbname) == before


def test_refused_while_live_keeps_its_name(server: servers.Server, live: Database) -> None:
    """Not compared, not ours, a name taken, a prepared transaction: refused, and live is as it was."""
    new, kept = f"{live.dbname}_new", f"{live.dbname}_kept"
    with servers.superuser(server.port) as connection:
        found = label.read(connection, new)
        assert found is not None
        label.write(connection, new, found.model_copy(update={"compared": None}))
        with pytest.raises(Refused, match="not compared"):
            exchange(live, new, kept)
        label.write(connection, new, found.model_copy(update={"host": "pg-oltp-2"}))
        with pytest.raises(Refused, match="no database"):
            exchange(live, new, kept)
        label.write(connection, new, found)
        with pytest.raises(Refused, match="no database absent"):
            exchange(live, "absent", kept)
        with pytest.raises(Refused, match="already"):
            exchange(live, new, "postgres")
        stubborn = psycopg.connect(server.conninfo(live.dbname, "postgres"), application_name="stubborn")
        with stubborn, pytest.raises(Refused, match="stubborn of postgres"):
            exchange(live, new, kept)
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        assert {live.dbname, new} <= names
        assert kept not in names
    assert exchange(live, new, kept).changed


def test_names_stay_within_what_postgres_keeps() -> None:
    """A long name is cut in front of its suffix, never within it, and never in the middle of a character."""
    long = named("x" * 70, "replaced_20261126t000000")
    assert len(long.encode()) == 63
    assert long.endswith("_replaced_20261126t000000")
    assert len(named("ü" * 40, "a" * 20).encode()) <= 63
