"""The benchmark of snapshots: every tool on the same database, server and bucket, one after the other, size after size."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg

from rollout.bench import mail, programs, server, snapshot_result, store
from rollout.bench.data import calm
from rollout.bench.server import Server
from rollout.bench.snapshot_result import OURS, Compared, Object
from rollout.bench.snapshots import ours, pg_dump, pgbackrest
from rollout.bench.snapshots.case import JOBS, SOURCE, Case, Did, database
from rollout.bench.store import Store
from rollout.environment import Database
from rollout.errors import RolloutError
from rollout.snapshots import checking, contents
from rollout.snapshots.database import contents_differences
from rollout.snapshots.records import Contents, quiet

PG_DUMP, PG_DUMP_FAST, PGBACKREST = "pg_dump_aws", "pg_dump_aws_gzip1", "pgbackrest"
TOOLS = (OURS, PG_DUMP, PG_DUMP_FAST, PGBACKREST)
DISK_TIMES = 6  # the database, its copy, a dump on the disk, and what every tool stored
WAL_BYTES = 2 * server.MAX_WAL_GIB * 2**30
IDLE = "/bin/true"  # what finished segments of the log are given to while nobody archives
SETTINGS = {"archive_mode": "on"}
Say = Callable[[str], None]
Keep = Callable[[list[Object]], None]
Act = Callable[[Case], Did]


@dataclass(frozen=True)
class Options:
    """What to measure. `say` hears of progress; `keep` gets all objects so far after each tool."""

    gigabytes: list[float]
    tools: list[str] = field(default_factory=lambda: list(TOOLS))
    folder: Path | None = None
    directory: Path | None = None
    install: bool = True
    say: Say = lambda _: None
    keep: Keep = lambda _: None


def run(options: Options) -> list[Object]:
    """Return one object a tool and size; raise RolloutError when nothing can be measured at all."""
    chosen, why = programs.choose_for_backrest(options.folder, wanted=PGBACKREST in options.tools, install=options.install)
    needed = int(max(options.gigabytes) * 1e9 * DISK_TIMES) + WAL_BYTES
    objects: list[Object] = []
    with (
        server.running(chosen, options.directory, needed, SETTINGS, socket=True) as running,
        store.running(running.folder) as stored,
    ):
        pgbackrest.archiving(running, IDLE)
        acts, lacking = _tools(options, running, why)
        about = _about(running)
        options.say(f"Postgres {about['versions']['postgres']}, SeaweedFS over TLS, {about['machine']['cpus']} cores")
        with running.connect("postgres") as connection:
            connection.execute("CREATE ROLE penguin_app LOGIN")
        for gigabytes in options.gigabytes:
            for found in _size(running, stored, gigabytes, options, acts, lacking):
                objects.append(about | found | {"versions": about["versions"] | found.get("versions", {})})
                snapshot_result.hold(objects)
                options.keep(objects)
    return objects


def _tools(options: Options, running: Server, why: str) -> tuple[dict[str, Act], dict[str, str]]:
    """Return how each tool that is there is measured, and why each other one is not."""
    acts: dict[str, Act] = {OURS: ours.measure}
    lacking: dict[str, str] = {}
    if {PG_DUMP, PG_DUMP_FAST} & set(options.tools):
        aws, reason = pg_dump.install(running.folder)
        for tool, level in ((PG_DUMP, None), (PG_DUMP_FAST, 1)):
            if aws is None:
                lacking[tool] = reason
            else:
                acts[tool] = partial(pg_dump.measure, aws=aws, level=level)
    if why:
        lacking[PGBACKREST] = why
    else:
        acts[PGBACKREST] = partial(pgbackrest.measure, program=programs.PGBACKREST, idle_command=IDLE)
    return acts, lacking


def _size(
    running: Server, stored: Store, gigabytes: float, options: Options, acts: dict[str, Act], lacking: dict[str, str]
) -> Iterator[Object]:
    """Measure every tool at one size."""
    running.create(SOURCE)
    source = database(running, SOURCE)
    began = time.monotonic()
    mail.fill(source, gigabytes)
    ratio = mail.gzip_ratio(source)
    options.say(f"\n{gigabytes:g} GB made in {time.monotonic() - began:.0f} s; gzip -6 shrinks its rows to 1/{ratio}")
    for tool in options.tools:
        if tool in lacking:
            options.say(f"  {tool}: not measured: {lacking[tool]}")
            yield snapshot_result.unmeasured(tool, gigabytes, lacking[tool], gzip_ratio=ratio)
            continue
        busy = round(os.getloadavg()[0], 2)
        try:
            found = _tool(running, stored, tool, gigabytes, acts[tool])
        except (RolloutError, psycopg.Error) as error:
            found = snapshot_result.unmeasured(tool, gigabytes, str(error), failed=True)
        options.say(snapshot_result.line(found))
        yield {**found, "gzip_ratio": ratio, "load_average_1m": [busy, round(os.getloadavg()[0], 2)]}
    running.drop(SOURCE)


def _tool(running: Server, stored: Store, tool: str, gigabytes: float, act: Act) -> Object:
    """Measure one tool at one size; what it leaves on the disk is removed."""
    folder, prefix = running.folder / "tool", f"{tool}-{gigabytes:g}"
    folder.mkdir(mode=0o711)
    source = database(running, SOURCE)
    compared: list[Compared] = []

    def calmed() -> None:
        with running.connect("postgres") as superuser:
            calm(superuser)

    try:
        did = act(Case(running, stored, gigabytes, folder, prefix, lambda copy: compared.append(_compared(source, copy)), calmed))
        with running.connect(SOURCE) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
        return snapshot_result.measured(tool, gigabytes, int(row[0]), did, compared[0], _stored_bytes(stored, prefix))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        running.drop("bench_restored")


def _compared(source: Database, copy: Database) -> Compared:
    """Compare a restored copy as our own verification does; whoever has none has to do that to know as much."""
    began = time.monotonic()
    expected = _read(source)
    read = time.monotonic()
    found = _read(copy)
    differences = contents_differences(expected, found, ignored=set())
    findings = checking.check(copy, jobs=JOBS)
    return Compared(read - began, time.monotonic() - read, [*differences, *findings])


def _read(one: Database) -> Contents:
    with contents.reading(one) as connection:
        return contents.read(connection, lambda: None, quiet)


def _stored_bytes(stored: Store, prefix: str) -> int:
    pages = stored.client().get_paginator("list_objects_v2").paginate(Bucket=store.BUCKET, Prefix=f"{prefix}/")
    return sum(entry["Size"] for page in pages for entry in page.get("Contents", []))


def _about(running: Server) -> dict[str, Any]:
    """Return what every object says about the run: versions, settings, machine."""
    with running.connect("postgres") as connection:
        version = connection.info.parameter_status("server_version")
    return {
        "versions": {"postgres": version}, "settings": running.settings,
        "machine": {"cpus": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)},
    }  # fmt: skip
