"""The benchmark of a change: every tool on the same data, under the same load, on one server, size after size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from rollout.bench import data, overhead, programs, result, server
from rollout.bench.client import MIX, Plan
from rollout.bench.load import Load
from rollout.bench.server import CLIENT, Server
from rollout.bench.subject import Measured, Subject
from rollout.bench.tools import one_transaction, pg_repack, rollout_engine
from rollout.errors import RolloutError

TOOLS: dict[str, Callable[[Subject], Measured]] = {
    "one_transaction": one_transaction.unlocked, "one_transaction_locked": one_transaction.locked,
    "pg_repack": pg_repack.repack, result.OURS: rollout_engine.rewrite,
}  # fmt: skip
WAL_BYTES = 2 * server.MAX_WAL_GIB * 2**30
SETTLE_MAX_SECONDS = 300.0
WARM_SHARE, WATCH_SHARE, SETTLE_SHARE = 0.25, 0.2, 0.1
Say = Callable[[str], None]
Keep = Callable[[list[result.Object]], None]


@dataclass(frozen=True)
class Options:
    """What to measure. `seconds`: the baseline's length, from which those of all other phases follow.

    `say` hears of progress; `keep` gets all objects so far after each tool: what took an hour outlives an interruption.
    """

    rows: list[int]
    tools: list[str]
    seconds: float
    rate: float
    connections: int
    seed: int
    folder: Path | None
    directory: Path | None
    install: bool
    say: Say = field(default=lambda _: None)
    keep: Keep = field(default=lambda _: None)


def run(options: Options) -> list[result.Object]:
    """Return one object a tool and size; raise RolloutError when nothing can be measured at all."""
    chosen = programs.choose(options.folder, repack="pg_repack" in options.tools, install=options.install)
    lacking = {"pg_repack": chosen.lacking}
    objects: list[result.Object] = []
    needed = data.needed_bytes(max(options.rows)) + WAL_BYTES
    with server.running(chosen, options.directory, needed) as running:
        about = _about(running, options)
        postgres, cpus = about["versions"]["postgres"], about["machine"]["cpus"]
        options.say(f"Postgres {postgres} on {cpus} cores, {options.rate:g} statements/s")
        for rows in options.rows:
            for found in _size(running, rows, options, lacking):
                objects.append({**found, **about})
                told = result.aims(objects)
                for o in objects:
                    if o["tool"] == result.OURS:
                        o["aims"] = [aim for aim in told if aim["rows"] in (o["rows"], None)]
                options.keep(objects)
    return objects


def _size(running: Server, rows: int, options: Options, lacking: dict[str, str]) -> Iterator[result.Object]:
    """Measure every tool at one size, one after the other."""
    seeded = f"seed_{rows}"
    row_bytes = data.seed(running, seeded, rows)
    options.say(f"\n{rows:,} rows of {row_bytes:.0f} bytes")
    offline = {definition: data.offline(running, seeded, rows, definition) for definition in ("none", "key", "all")}
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in offline.items())
    options.say(f"  offline INSERT ... SELECT, rows/s by the copy's indexes: {rates}")
    for tool in options.tools:
        if lacking.get(tool):
            options.say(f"  {tool}: not measured: {lacking[tool]}")
            yield result.unmeasured(tool, rows, lacking[tool])
            continue
        running.create("bench", seeded)
        busy = round(os.getloadavg()[0], 2)
        try:
            found = _tool(running, tool, rows, options, offline)
        except (RolloutError, psycopg.Error) as error:
            found = result.unmeasured(tool, rows, str(error), failed=True)
        running.drop("bench")
        options.say(_line(found))
        yield {**found, "row_bytes": row_bytes, "load_average_1m": [busy, round(os.getloadavg()[0], 2)]}
    running.drop(seeded)


def _tool(running: Server, tool: str, rows: int, options: Options, offline: dict[str, float]) -> result.Object:
    """Measure one tool at one size."""
    watch, settle = options.seconds * WATCH_SHARE, options.seconds * SETTLE_SHARE
    without = overhead.measure(running, "bench", rows, watch, options.seed) if tool == result.OURS else None
    plan = Plan(running.conninfo("bench", CLIENT), options.rate, options.connections, rows, options.seed)
    with running.connect("bench") as superuser:
        data.calm(superuser)
    with Load(plan) as load:
        subject = Subject(running, "bench", rows, watch, options.seed, load, without)
        load.run()
        time.sleep(options.seconds * WARM_SHARE)
        baseline_start = time.monotonic()
        time.sleep(options.seconds)
        start = time.monotonic()
        did = TOOLS[tool](subject)
        end = time.monotonic()
        load.settle(SETTLE_MAX_SECONDS)
        time.sleep(settle + options.seconds / 2)
        load_end = time.monotonic()
        load.pause()
        seen = load.finish()
    times = result.Times(baseline_start, start, end, settle, load_end)
    return result.measured(tool, rows, did, offline, seen, times, subject.steps)


def _about(running: Server, options: Options) -> dict[str, Any]:
    """Return what every object says about the run: versions, settings, load, machine."""
    chosen = running.programs
    with running.connect("postgres") as connection:
        version = connection.info.parameter_status("server_version")
    return {
        "versions": {
            "postgres": version, "pg_repack": programs.version(chosen.repack) if chosen.repack else None,
            "psycopg": psycopg.__version__,
        },
        "settings": running.settings,
        "load": {
            "statements_per_s": options.rate, "connections": options.connections, "percent": MIX, "seed": options.seed,
            "baseline_seconds": options.seconds, "prepared": True, "open_loop": True,
        },
        "machine": {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)},
    }  # fmt: skip


def _line(o: result.Object) -> str:
    if "not_measured" in o:
        return f"  {o['tool']}: failed: {o['not_measured']}"
    stall = f"longest stall {o['longest_stall_over_baseline_ms']:.0f} ms over the baseline"
    return f"  {o['tool']}: {o['total_seconds']:.1f} s, {stall}, {o['failed_statements']} failed, {o['lost_writes']} lost"
