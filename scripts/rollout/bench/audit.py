"""What the audit trail costs the product's writers: their own transactions, with it and without it, side by side."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import sql

from rollout.audit import sealing, verification
from rollout.bench import pinned, programs, trails, writes
from rollout.bench.data import calm
from rollout.bench.server import Server, running
from rollout.bench.trails import AGAIN, APPLICATION, CHAINED, OFF, ON
from rollout.engine.ledger import Connection
from rollout.environment import TIERS, Tier

VARIANTS = (OFF, AGAIN, ON, CHAINED)
NEEDED_BYTES = 6 * 2**30
LIMIT = 1.2
KEPT_SHARE = 0.95
# Backends that live long differ from one another by where their memory lies: new ones average that out. The first transactions
# of each fill its caches and are not counted.
TRANSACTIONS, COLD = 150, 20

@dataclass(frozen=True)
class Options:
    """`seconds` for each tier and number of `clients`, each measured by itself; `flushed`: commits wait for the disk."""

    tiers: list[Tier] = field(default_factory=lambda: list(TIERS))
    clients: list[int] = field(default_factory=lambda: [1, 8])
    seconds: float = 20.0
    flushed: bool = True
    folder: Path | None = None
    directory: Path | None = None
    say: Callable[[str], None] = lambda _: None


def run(options: Options) -> list[dict[str, Any]]:
    """Measure each tier and number of clients; return an object for each."""
    chosen = programs.choose(options.folder, repack=False, install=False)
    found = []
    with running(chosen, options.directory, NEEDED_BYTES) as server:
        trails.roles(server)
        for tier in options.tiers:
            with trails.made(server, tier, VARIANTS) as connection:
                for clients in options.clients:
                    found.append(_measure(server, tier, connection, clients, options))
                    options.say(json.dumps(found[-1]))
    return found


def _measure(server: Server, tier: Tier, connection: Connection, clients: int, options: Options) -> dict[str, Any]:
    """Measure one tier; `connection`: to the database whose trail is on, which is then sealed and verified."""
    _load(server, tier, clients, options.seconds / 10, options)  # caches, and the tables' first rows
    with server.connect(f"{tier}_{ON}") as superuser:
        calm(superuser)
    spent, is_pinned = _load(server, tier, clients, options.seconds, options)
    median, mean = ({v: by(spent[v]) for v in VARIANTS} for by in (statistics.median, _trimmed))
    began = time.monotonic()
    sealed = sealing.seal(connection)
    seconds = time.monotonic() - began
    verdict = verification.verify(connection, [])
    ratios = [{v: round(of[v] / of[OFF], 3) for v in VARIANTS if v != OFF} for of in (median, mean)]
    return {
        "tier": tier, "clients": clients, "flushed": options.flushed, "pinned": is_pinned, "transactions": len(spent[OFF]),
        "median_ms": {v: round(median[v], 3) for v in VARIANTS}, "mean_ms": {v: round(mean[v], 3) for v in VARIANTS},
        "median_ratio": ratios[0], "mean_ratio": ratios[1], "limit": LIMIT, "within_limit": ratios[0][ON] <= LIMIT,
        "log_verdict": verdict.verdict, "sealed_rows": sealed.rows,
        "sealed_rows_per_s": round(sealed.rows / seconds) if sealed.rows else None,
        "verified_rows_per_s": round(verdict.rows / verdict.seconds) if verdict.rows else None,
        "load_average_1m": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def _trimmed(milliseconds: list[float]) -> float:
    """Return the mean without the slowest 5 %, which are the machine's."""
    kept = sorted(milliseconds)[: max(1, round(len(milliseconds) * KEPT_SHARE))]
    return statistics.fmean(kept)


def _load(server: Server, tier: Tier, clients: int, seconds: float, options: Options) -> tuple[dict[str, list[float]], bool]:
    """Let clients repeat the tier's transaction on one database after the other; return the milliseconds of each, by variant.

    Every transaction has its like beside it, in another database, a few milliseconds apart and on the same core: whatever else
    the machine does is met by all of them. The second value tells whether that core was to be had.
    """
    until = time.monotonic() + seconds

    def one(number: int) -> tuple[dict[str, list[float]], bool]:
        took: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        who = {name: str(uuid.uuid4()) for name in ("tenant_id", "user_id", "session_id", "key")}
        state = {**who, "ip_address": "192.0.2.7", "user_agent": "bench"}
        with pinned.to_one_core(number) as core:
            sat = True
            while time.monotonic() < until:
                sat = _connected(server, tier, (took, state), core, (until, options.flushed)) and sat
        return took, sat

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(one, range(clients)))
    spent = {variant: [ms for took, _ in found for ms in took[variant]] for variant in VARIANTS}
    return spent, all(sat for _, sat in found)


def _connected(
    server: Server, tier: Tier, client: tuple[dict[str, list[float]], dict[str, str]], core: pinned.Core, how: tuple[float, bool]
) -> bool:
    """Repeat the transaction over one set of connections until `how[0]`; commits wait for the disk if `how[1]`."""
    (took, state), (until, flushed) = client, how
    act, statements = writes.WORK[tier], writes.statements(tier)
    with ExitStack() as stack:
        connected = {v: stack.enter_context(server.connect(f"{tier}_{v}", APPLICATION)) for v in VARIANTS}
        sat = core.pin(connected.values())
        for one in connected.values():
            one.prepare_threshold = 0
            one.execute(sql.SQL("SET synchronous_commit = {}").format(sql.SQL("on" if flushed else "off")))
        for turn in range(TRANSACTIONS + COLD):
            if time.monotonic() >= until and all(took.values()):
                break
            for variant in random.sample(VARIANTS, len(VARIANTS)):
                began = time.perf_counter()
                act(connected[variant], statements, state)
                if turn >= COLD:
                    took[variant].append((time.perf_counter() - began) * 1000)
    return sat


def good(objects: list[dict[str, Any]]) -> bool:
    """Tell whether every log was verified; figures are reported, never judged by an exit status."""
    return all(one["log_verdict"] == "pass" for one in objects)
