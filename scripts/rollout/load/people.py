"""`invoke load`: many users at once, by Locust, through the load balancer; what was reached goes to the run's journal.

On several machines: `--expect-workers N` here waits for N workers, each started as the message says. Locust counts a response
only when its status is the one that the mix expects.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from rollout.environment import TIERS, Environment
from rollout.errors import BadInput, Failed
from rollout.load import targets

LOCUSTFILE = Path(__file__).with_name("users.py")
SPAWN_SECONDS = 10.0
GRACE_SECONDS = 120.0
USERS_MAX = 1_000_000


@dataclass(frozen=True)
class Reached:
    """What a load run reached: users, seconds, requests, failures, latencies (ms), this machine's processors (% busy), and by
    how many bytes the databases grew."""

    name: str
    users: int
    seconds: float
    requests: int
    failures: int
    per_second: float
    mean_ms: float
    p95_ms: float
    p99_ms: float
    cpu_percent: float
    grown_bytes: int
    at: float
    by_name: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def run(
    environment: Environment, users: int, minutes: float, *, processes: int = 1, expect_workers: int = 0, port: int = 5557
) -> Reached:
    """Have `users` use the application for `minutes`; raise BadInput for numbers out of range, Failed when Locust fails."""
    if not 0 < users <= USERS_MAX or minutes <= 0:
        raise BadInput(f"{users} users for {minutes:g} minutes", limit=f"1 to {USERS_MAX:,} users, more than 0 minutes",
                       next="invoke load --users 200 --minutes 2")  # fmt: skip
    known = targets.sample(environment)
    with tempfile.TemporaryDirectory(prefix="load-") as scratch:
        given = Path(scratch) / "targets"
        given.write_bytes(pickle.dumps(known))
        argv = [
            sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json", "--only-summary", "--host",
            environment.load_balancer.url, "--users", str(users), "--spawn-rate", str(max(1.0, users / SPAWN_SECONDS)),
            "--run-time", f"{max(1, round(minutes * 60))}s", "--stop-timeout", "10", "--exit-code-on-error", "0",
        ]  # fmt: skip
        argv += ["--master", "--expect-workers", str(expect_workers), "--master-bind-port", str(port)] if expect_workers else []
        argv += ["--processes", str(processes)] if processes > 1 and not expect_workers else []
        before, began = _size(environment), time.monotonic()
        psutil.cpu_percent()
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=minutes * 60 + SPAWN_SECONDS + GRACE_SECONDS,
            env=os.environ | {"ROLLOUT_LOAD_TARGETS": str(given)}, cwd=scratch,
        )  # fmt: skip
        cpu, seconds = psutil.cpu_percent(), time.monotonic() - began
    if done.returncode != 0 or not done.stdout.strip():
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Failed(f"Locust exited {done.returncode}: {reason}", next="correct that, then the same command")
    rows = json.loads(done.stdout[done.stdout.index("[") :])
    return _reached(rows, users, seconds, cpu, _size(environment) - before)


def _reached(rows: list[dict[str, Any]], users: int, seconds: float, cpu: float, grown: int) -> Reached:
    """Sum Locust's statistics, whose histograms are in milliseconds; raise Failed when there was no request."""
    times: dict[float, int] = {}
    for row in rows:
        for took, n in row["response_times"].items():
            times[float(took)] = times.get(float(took), 0) + int(n)
    n = sum(int(row["num_requests"]) for row in rows)
    if not n:
        raise Failed("the load run made no request", next="look at the load balancer, then the same command")
    at = time.time()
    return Reached(
        name=time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(at)), users=users, seconds=round(seconds, 1), requests=n,
        failures=sum(int(row["num_failures"]) for row in rows), per_second=round(n / seconds, 1),
        mean_ms=round(sum(float(row["total_response_time"]) for row in rows) / n, 1), p95_ms=_quantile(times, 0.95),
        p99_ms=_quantile(times, 0.99), cpu_percent=cpu, grown_bytes=grown, at=at,
        by_name={row["name"]: {"requests": row["num_requests"], "failures": row["num_failures"]} for row in rows},
    )  # fmt: skip


def _quantile(times: dict[float, int], share: float) -> float:
    left = share * sum(times.values())
    for took in sorted(times):
        left -= times[took]
        if left <= 0:
            return took
    return max(times, default=float("nan"))


def _size(environment: Environment) -> int:
    total = 0
    for tier in TIERS:
        for database in environment.tier(tier):
            with psycopg.connect(database.conninfo("rollout-load")) as connection:
                row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            total += int(row[0]) if row else 0
    return total
