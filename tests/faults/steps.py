"""The engine's steps as the test orders them from its driver, with whoever is to be killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from cases import CHANGE, Kill
from cluster import Cluster
from traffic import Traffic

from rollout.environment import ROOT

SETTINGS = {
    "stall_budget_total_ms": 8000,
    "stall_budget_once_ms": 400,
    "lock_attempts_max": 40,
    "chunk_target_ms": 20,
    "blocker_transaction_max_seconds": 2.0,
}
LOCK_REFUSALS_MAX = 3
LOCK_PAGE = "lock-refused"


class Steps:
    """Orders to a driver process on one database; `log` keeps what came of each."""

    def __init__(self, cluster: Cluster, dbname: str, change_yml: str, folder: Path, traffic: Traffic) -> None:
        self.cluster, self.dbname, self.traffic = cluster, dbname, traffic
        self.log: list[str] = []
        self.settings: dict[str, Any] = dict(SETTINGS)
        self.folder = folder / CHANGE
        self.folder.mkdir()
        (self.folder / "change.yml").write_text(change_yml)
        self.driver = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT / "scripts",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.kill()
        self.driver.wait()
        for pipe in (self.driver.stdin, self.driver.stdout):
            assert pipe
            pipe.close()

    def step(self, name: str, kills: Iterable[Kill] = ()) -> dict[str, Any]:
        """Run a step to its end: struck as often as ordered and repeated, the same each time; return what it said."""
        for _, at, who, when in kills:
            said = self._order(name, {"at": at, "who": who, "when": when})
            if not said["struck"]:
                break  # it has fewer statements than that, and is done
        for _ in range(LOCK_REFUSALS_MAX):
            said = self._order(name, {})
            if LOCK_PAGE not in said.get("refused", {}).get("page", ""):
                break
        return said

    def _order(self, name: str, kill: dict[str, Any]) -> dict[str, Any]:
        database = {
            "host": "pg-any-1",
            "tier": "oltp",
            "host_set": "live",
            "address": "127.0.0.1",
            "port": self.cluster.port,
            "dbname": self.dbname,
            "user": "penguin_rollout",
            "passfile": str(self.cluster.passfile),
            "app_role": "penguin_app",
        }
        order = {
            "step": name,
            "database": database,
            "folder": str(self.folder),
            "settings": self.settings,
            **kill,
            "postmaster": self.cluster.postmaster.pid,
            "superuser": self.cluster.conninfo(self.dbname, "postgres"),
        }
        crash = kill.get("who") == "server"
        if crash:
            self.traffic.crashed_at = float("inf")
        assert self.driver.stdin and self.driver.stdout
        started = time.monotonic()
        self.driver.stdin.write(json.dumps(order) + "\n")
        self.driver.stdin.flush()
        line = self.driver.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line.strip() else {"failed": "the driver ended", "struck": False}
        if crash:
            if said["struck"]:
                self.cluster.postmaster.wait(20)
                self.cluster.recover()
            self.traffic.crashed_at = time.monotonic()
        outcome = "killed" if "killed" in said else said.get("text") or f"stage {said.get('stage')}"
        facts = f"{said.get('statements', '?')} statements, {time.monotonic() - started:.2f} s"
        self.log.append(f"{name} {kill or ''}: {outcome} ({facts})")
        return said
