"""The open-loop generator: arrivals on a fixed schedule, whatever the service does, so that stalls cannot hide.

Each arrival is a task of its own with a deadline. Latency counts from the scheduled instant to the last byte of the
answer. Nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from rollout.load.journal import Journal
from rollout.load.mix import Mix, Operation
from rollout.load.results import Series, histogram, percentile_ms, record
from rollout.load.schedule import arrivals

FAILURES_KEPT = 50
BODY_EXCERPT = 300
# Shorter than any server's or balancer's: the client closes idle connections, so none is closed under a request.
KEEP_ALIVE_SECONDS = 8.0


@dataclass(frozen=True)
class Plan:
    """Where to, how many requests a second, for how long (None: until stopped), and each request's deadline."""

    url: str
    rate: float
    seconds: float | None
    deadline_seconds: float = 10.0


class Generator:
    """Makes the arrivals of a plan and keeps count; `stop` ends it after what is in flight."""

    def __init__(self, plan: Plan, mix: Mix, journal: Journal, folder: Path) -> None:
        self._plan = plan
        self._mix = mix
        self._journal = journal
        self._folder = folder
        self._series_stream = (folder / "series.jsonl").open("a", buffering=1)
        self._series = Series(self._series_stream)
        self._failures = (folder / "failures.jsonl").open("a", buffering=1)
        self._kept = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._by_operation: defaultdict[str, Any] = defaultdict(histogram)
        self._failed_by_operation: Counter[str] = Counter()
        self._by_release: Counter[str] = Counter()
        self._started = time.time()
        self._lag_seconds_max = 0.0

    def stop(self) -> None:
        """Make no more arrivals."""
        self._stopping.set()

    async def run(self) -> dict[str, Any]:
        """Run the plan; return the summary, which is also in summary.json."""
        self._started = time.time()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=self._plan.deadline_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            _forbid_retries(session)
            reporter = asyncio.create_task(self._report())
            await self._arrive(session)
            if self._in_flight:
                await asyncio.wait(self._in_flight, timeout=self._plan.deadline_seconds + 1)
            reporter.cancel()
            with suppress(asyncio.CancelledError):
                await reporter
        self._series.flush()
        self._journal.close()
        self._series_stream.close()
        self._failures.close()
        summary = self._status("done") | {
            "by_operation": {
                name: {
                    "count": of.get_total_count(),
                    "failed": self._failed_by_operation[name],
                    "p50_ms": percentile_ms(of, 50),
                    "p99_ms": percentile_ms(of, 99),
                    "max_ms": percentile_ms(of, 100),
                }
                for name, of in sorted(self._by_operation.items())
            },
            "cpu_seconds": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 2),
            **self._series.percentiles(),
        }
        _replace(self._folder / "summary.json", summary)
        _replace(self._folder / "status.json", summary)
        return summary

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        async for due, lag in arrivals(self._plan.rate, self._plan.seconds, self._stopping):
            self._lag_seconds_max = max(self._lag_seconds_max, lag)
            task = loop.create_task(self._request(session, self._mix.next(), due))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _request(self, session: aiohttp.ClientSession, operation: Operation, due: float) -> None:
        """Make one request. Everything but the expected status with a readable answer is a failure."""
        status, text, why = 0, "", ""
        try:
            url = URL(self._plan.url + operation.path, encoded=True)
            async with session.request(operation.method, url, json=operation.body) as response:
                status, text = response.status, await response.text()
                self._by_release[
                    f"{response.headers.get('x-release', '?')}/{response.headers.get('x-colour', '?')}"
                ] += 1
            if status == operation.expected:
                operation.acknowledged(json.loads(text))
            else:
                why = f"status {status}, expected {operation.expected}"
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            why = f"{type(error).__name__}: {error}"
        latency = asyncio.get_running_loop().time() - due
        self._series.record(time.time(), latency, failed=bool(why))
        record(self._by_operation[operation.name], latency)
        if why:
            operation.missed()
            self._failed_by_operation[operation.name] += 1
            self._keep(operation, status, text, why, latency)

    def _keep(self, operation: Operation, status: int, text: str, why: str, latency: float) -> None:
        """Keep the details of the first failures."""
        if self._kept < FAILURES_KEPT:
            self._kept += 1
            self._failures.write(
                json.dumps(
                    {
                        "at": time.time(),
                        "operation": operation.name,
                        "method": operation.method,
                        "path": operation.path,
                        "status": status,
                        "why": why,
                        "body": text[:BODY_EXCERPT],
                        "latency_ms": round(latency * 1000, 1),
                    }
                )
                + "\n"
            )

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(1)
            _replace(self._folder / "status.json", self._status("draining" if self._stopping.is_set() else "running"))
            await asyncio.to_thread(self._journal.sync)

    def _status(self, state: str) -> dict[str, Any]:
        return {
            "state": state,
            "pid": os.getpid(),
            "url": self._plan.url,
            "rate": self._plan.rate,
            "started_at": self._started,
            "elapsed_seconds": round(time.time() - self._started, 1),
            "requests": self._series.count,
            "failed": self._series.failed,
            "in_flight": len(self._in_flight),
            "acknowledged_writes": self._journal.acknowledged,
            "by_release": dict(self._by_release),
            "generator_lag_ms_max": round(self._lag_seconds_max * 1000, 1),
        }


def _forbid_retries(session: aiohttp.ClientSession) -> None:
    """Switch off aiohttp's own second try of GETs on a connection that was closed: it would hide a failed request."""
    if not hasattr(session, "_retry_connection"):
        raise RuntimeError("this aiohttp has no _retry_connection: it may send requests twice, unseen")
    session._retry_connection = False  # noqa: SLF001  (there is no public switch)


def _replace(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)
