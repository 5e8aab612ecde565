"""Postgres servers of every major version found on the machine, for what the engine does differently on each."""

from __future__ import annotations

import shutil
import subprocess
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
from servers import DROP, NOBODY, Home, create_roles, database, free_port, postgres_binaries, superuser, within

from rollout.environment import Database

RUNNER = "penguin_rollout"
QUICK = ("shared_buffers=32MB", "log_min_messages=fatal", "max_wal_size=1GB", "fsync=off", "max_prepared_transactions=8",
         "autovacuum_naptime=1s", "autovacuum_max_workers=6", "autovacuum_freeze_max_age=100000",
         "wal_sender_timeout=5s", "archive_mode=on", "wal_level=replica")  # fmt: skip


def majors() -> dict[str, Path | None]:
    """Return the programs' folder of each major version found; None stands for the wheel's own."""
    found: dict[str, Path | None] = {"wheel": None}
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin")):
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            found[folder.parent.name] = folder
    return found


class Cluster(Home):
    """A Postgres cluster of one version that tests may upset; every test gets databases of its own in it."""

    def __init__(self, binaries: Path | None, settings: Sequence[str] = ()) -> None:
        super().__init__()
        self.binaries = binaries or postgres_binaries()
        self.port, self.standbys = free_port(), 0
        try:
            self._run("initdb", "-D", self._folder("primary"), "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8")
            # In its own file, unlike the rest, so that a test can change it.
            with (self.folder / "primary" / "postgresql.conf").open("a") as more:
                more.write("archive_command = 'true'\n")
            self._start("primary", self.port, [*QUICK, *settings])
            with superuser(self.port) as connection:
                create_roles(connection)
        except BaseException:
            self.stop()
            raise

    def database(self) -> Database:
        """Create an empty database that the runner owns."""
        name = f"t_{uuid.uuid4().hex[:8]}"
        with superuser(self.port) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {RUNNER}".encode())
        return database(self, "queue", name, self.port)

    def drop(self, target: Database) -> None:
        """Drop a database and end whoever is in it, prepared transactions too."""
        with superuser(self.port, target.dbname) as connection:
            for (gid,) in connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
                connection.execute(f"ROLLBACK PREPARED '{gid}'".encode())
        with superuser(self.port) as connection:
            connection.execute(f"DROP DATABASE {target.dbname} WITH (FORCE)".encode())

    def standby(self, *settings: str) -> int:
        """Make a streaming replica, named standby_<n>, and return its port once it streams."""
        self.standbys += 1
        name, port = f"standby_{self.standbys}", free_port()
        source = f"host=127.0.0.1 port={self.port} user=postgres application_name={name}"
        self._run("pg_basebackup", "-D", self._folder(name), "-d", source, "-R", "-c", "fast", "-X", "stream")
        self._start(name, port, [*QUICK, "hot_standby=on", *settings])

        def streams() -> None:
            with superuser(self.port) as connection:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'", (name,)
                ).fetchone()
            assert found == (1,)

        within(30, streams)
        return port

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir(0o700)
            if DROP:
                shutil.chown(folder, NOBODY, NOBODY)
        return folder

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run([self.binaries / program, *arguments], check=True, capture_output=True, cwd="/", **DROP)

    def _start(self, name: str, port: int, settings: Sequence[str]) -> None:
        options = [word for setting in settings for word in ("-c", setting)]
        self.spawn([self.binaries / "postgres", "-D", self.folder / name, "-p", port, "-k", "", "-h", "127.0.0.1",
                    *options], **DROP)  # fmt: skip
        within(30, lambda: superuser(port).close())


class Client:
    """A session of somebody else, as a context manager: `run` goes on in a thread and ends with the session."""

    def __init__(self, target: Database, name: str = "client") -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(target.conninfo(name), autocommit=True)
        self.pid = self.connection.info.backend_pid
        self.error: psycopg.Error | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread and self._thread.is_alive():
            self.connection.cancel_safe(timeout=5)
        if self._thread:
            self._thread.join(10)
        self.connection.close()

    def execute(self, statement: str) -> Self:
        """Run statements and return when they are done."""
        self.connection.execute(statement.encode())
        return self

    def run(self, statement: str) -> Self:
        """Begin a statement; `wait` for its end."""

        def act() -> None:
            try:
                self.connection.execute(statement.encode())
            except psycopg.Error as error:
                self.error = error

        self._thread = threading.Thread(target=act)
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait for the end of what `run` began."""
        assert self._thread is not None
        self._thread.join(30)
        assert not self._thread.is_alive()


def until(target: Database, question: str) -> None:
    """Wait until a question to the database, asked by its superuser, is answered with true."""
    with superuser(target.port, target.dbname) as connection:

        def holds() -> None:
            assert connection.execute(question.encode()).fetchone() == (True,), question

        within(30, holds)
