"""What the audit trail costs a request: the application itself, asked over databases without a trail and over such with one.

Three processes of the release before the rollout, each over four databases of its own: without a trail, without one again, with
it. One client on keep-alive connections asks one after the other; client, applications and backends are on one core. There is
no balancer between them: it would add to both sides, so what is measured here is the stricter ratio.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import tenacity

from rollout.bench import pinned, programs, trails
from rollout.bench.audit import LIMIT, NEEDED_BYTES, Options
from rollout.bench.server import Server, running
from rollout.bench.trails import AGAIN, APPLICATION, OFF, ON
from rollout.children import die_with_parent
from rollout.environment import TIERS
from rollout.errors import Failed
from rollout.sandbox import ports

VARIANTS = (OFF, AGAIN, ON)
ROUNDS, COLD = 6, 30  # new processes each round; the first requests of each are not counted
START_SECONDS = 20.0
Took = dict[str, dict[str, list[float]]]
TEXT = "words and words " * 128
PERIOD = {"period_start": "2026-11-01T00:00:00Z", "period_end": "2026-12-01T00:00:00Z"}
COUNTERS = dict.fromkeys(("sent", "delivered", "opened_tracked", "emails_sent"), 1)
# Of each tier the request that writes to it; tenant and leads are added.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "oltp": ("/campaigns", {"name": "bench", "description": "d"}),
    "content": ("/messages", {"direction": "outbound", "content_text": TEXT, "content_html": TEXT, "subject": "s",
                              "from_email": "a@example.com", "to_email": "b@example.com"}),
    "queue": ("/jobs", {"queue_name": "email-sending"}),
    "olap": ("/analytics", {"campaign_id": "bench", "company_id": "bench", **PERIOD, **COUNTERS}),
}  # fmt: skip


def run(options: Options) -> list[dict[str, Any]]:
    """Measure `options.tiers` for `options.seconds` each, together; return an object for each. Commits are flushed."""
    from service.build import build

    took: Took = {tier: {variant: [] for variant in VARIANTS} for tier in options.tiers}
    chosen = programs.choose(options.folder, repack=False, install=False)
    with running(chosen, options.directory, NEEDED_BYTES) as server, ExitStack() as stack:
        trails.roles(server)
        for each in TIERS:
            stack.enter_context(trails.made(server, each, VARIANTS))
        build("v1", server.folder / "release")
        rounds = [_round(server, took, options.seconds * len(options.tiers) / ROUNDS) for _ in range(ROUNDS)]
    found = []
    for tier, spent in took.items():
        median = {variant: statistics.median(spent[variant]) for variant in VARIANTS}
        ratio = {variant: round(median[variant] / median[OFF], 3) for variant in (AGAIN, ON)}
        found.append({
            "tier": tier, "request": f"POST {ASKED[tier][0]}", "pinned": all(rounds), "requests": len(spent[OFF]),
            "median_ms": {variant: round(ms, 3) for variant, ms in median.items()}, "median_ratio": ratio,
            "limit": LIMIT, "within_limit": ratio[ON] <= LIMIT, "load_average_1m": round(os.getloadavg()[0], 2),
        })  # fmt: skip
        options.say(json.dumps(found[-1]))
    return found


def _round(server: Server, took: Took, seconds: float) -> bool:
    """Ask three new processes in turn until the time is up; tell whether everything was on one core."""
    with pinned.to_one_core() as core, ExitStack() as stack:  # what is started here is on that core too
        clients = {variant: stack.enter_context(_application(server, variant)) for variant in VARIANTS}
        for client in clients.values():
            for tier in [*took] * COLD:
                _ask(client, tier)
        with server.connect("postgres") as superuser:
            pids = superuser.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", (APPLICATION,)).fetchall()
        is_pinned = all(core.pin_process(pid) for (pid,) in pids)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for tier in took:
                for variant in random.sample(VARIANTS, len(VARIANTS)):
                    took[tier][variant].append(_ask(clients[variant], tier))
    return is_pinned


def _ask(client: HTTPConnection, tier: str) -> float:
    """Send the tier's request; return the milliseconds until its answer was read."""
    path, given = ASKED[tier]
    tenant = {"tenant_id": str(uuid.uuid5(uuid.NAMESPACE_OID, "bench"))}
    leads = [{"email": f"{uuid.uuid4()}@example.com", "name": "n", "company": "c"} for _ in range(3)]
    body = json.dumps({**tenant, "payload": tenant, "leads": leads, **given}).encode()
    headers = {"X-User-Id": str(uuid.uuid4()), "X-Session-Id": str(uuid.uuid4()), "User-Agent": "bench"}
    began = time.perf_counter()
    client.request("POST", path, body, headers)
    response = client.getresponse()
    said = response.read()
    if response.status not in (200, 201):
        raise Failed(f"POST {path} answered {response.status}: {said[:200].decode(errors='replace')}", next="correct that")
    return (time.perf_counter() - began) * 1000


@contextmanager
def _application(server: Server, variant: str) -> Iterator[HTTPConnection]:
    """Run the application over the databases of a variant; yield a connection to it once it answers."""
    port = ports.choose([variant])[variant]
    dsns: dict[str, str] = {tier: server.conninfo(f"{tier}_{variant}", APPLICATION) for tier in TIERS}
    # Nothing that is asked here asks Redis, and no worker works.
    told = {"HOST": "127.0.0.1", "PORT": str(port), "COLOUR": "blue", "REDIS_URL": "redis://127.0.0.1:1/0", "GRACE_SECONDS": "0"}
    told |= {f"{name.upper()}_DSN": dsn for name, dsn in {**dsns, "worker": dsns["queue"]}.items()}
    environ = {**os.environ, **{f"ROLLOUT_APP_{name}": value for name, value in told.items()}}
    argv = [sys.executable, "-m", "service.serve", "--folder", str(server.folder / "release")]
    with (server.folder / f"{variant}.log").open("ab") as log, subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd="/", preexec_fn=die_with_parent  # noqa: PLW1509
    ) as process:  # fmt: skip
        client = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            waiting = tenacity.Retrying(
                stop=lambda state: process.poll() is not None or (state.seconds_since_start or 0) > START_SECONDS,
                wait=tenacity.wait_fixed(0.05), retry=tenacity.retry_if_exception_type(OSError), reraise=True,
            )  # fmt: skip
            waiting(client.connect)
            yield client
        except ConnectionError as error:
            said = Path(log.name).read_text().strip().splitlines() or [str(error)]
            raise Failed(f"the application did not answer: {said[-1]}", next="correct that") from None
        finally:
            client.close()
            process.send_signal(signal.SIGTERM)
