"""A server that a test may end at once and start again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import psycopg
from servers import DROP, NOBODY, Home, free_port, postgres_binaries, superuser, within
from universe import APP, KIT, OWNER

SETTINGS = {
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "log_min_messages": "fatal",
    "wal_level": "logical",
    "deadlock_timeout": "1s",
    "full_page_writes": "off",
    "fsync": "off",
    "max_connections": "60",
    "lc_messages": "C",
}


class Cluster(Home):
    """One Postgres of some version, with the roles of a rollout; `crash` ends it as a power cut would, `recover` starts it."""

    def __init__(self, binaries: Path | None = None) -> None:
        super().__init__()
        self.binaries = binaries or postgres_binaries()
        self.port, self.data = free_port(), self.folder / "faults" / "pg"
        self.data.parent.mkdir()
        if DROP:
            shutil.chown(self.data.parent, NOBODY, NOBODY)
        initdb = [self.binaries / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8"]
        try:
            subprocess.run(initdb, check=True, capture_output=True, cwd="/", **DROP)
            self.postmaster = self.recover()
            with self.superuser() as connection:
                connection.execute(
                    f"CREATE ROLE {OWNER} LOGIN CREATEDB BYPASSRLS IN ROLE pg_monitor, pg_signal_backend".encode()
                )
                connection.execute(f"CREATE ROLE {APP} LOGIN; CREATE ROLE auditor".encode())
                for role in (OWNER, APP):
                    connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role}".encode())
            self.template = self._template()
        except BaseException:
            self.stop()
            raise

    @property
    def major(self) -> int:
        with self.superuser() as connection:
            return connection.info.server_version // 10_000

    def superuser(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        return superuser(self.port, dbname)

    def conninfo(self, dbname: str, user: str = OWNER, application_name: str = "client") -> str:
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} application_name={application_name}"

    def database(self) -> str:
        """Return the name of a new database, the runner's own, with the kit in it."""
        name = f"faults_{uuid.uuid4().hex[:8]}"
        with self.superuser() as connection:
            connection.execute(
                f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {self.template} STRATEGY file_copy".encode()
            )
        with self.superuser(name) as connection:
            connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}".encode())
        return name

    def drop(self, name: str) -> None:
        with self.superuser() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def crash(self) -> None:
        """End the server at once, as `pg_ctl stop -m immediate` does."""
        os.kill(self.postmaster.pid, signal.SIGQUIT)
        self.postmaster.wait(20)

    def recover(self) -> subprocess.Popen[bytes]:
        """Start the server on what it finds and wait until it answers."""
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        argv = [self.binaries / "postgres", "-D", self.data, "-p", self.port, "-k", "", "-h", "127.0.0.1", *options]
        self.postmaster = self.spawn(argv, **DROP)
        within(30, lambda: self.superuser().close())
        return self.postmaster

    def _template(self) -> str:
        with self.superuser() as connection:
            connection.execute(f"CREATE DATABASE kit OWNER {OWNER}".encode())
        with self.superuser("kit") as connection:
            connection.execute(KIT.read_bytes())
        return "kit"
