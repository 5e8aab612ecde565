"""Probes on the hosts of the databases, from /proc: only of those that this machine is."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

import psutil
import psycopg

from rollout.checklist.probe import Asked, Observation, probe
from rollout.environment import Database
from rollout.gates_databases import live

ELSEWHERE = "the databases are on other hosts: ask their monitoring (runbooks/monitoring.md)"


@probe("database_cpu", reads="state")
def database_cpu(asked: Asked) -> Observation:
    """Share of this machine's processors that the databases' processes use (%), over a few seconds."""
    seconds, source = float(asked.parameter("seconds")), "/proc of the databases' processes"
    servers = _servers(asked)
    if not servers:
        return Observation(reason=ELSEWHERE, source=source)
    before, began = _cpu_seconds(servers), time.time()
    time.sleep(seconds)
    after, ended = _cpu_seconds(servers), time.time()
    used = sum(max(0.0, after[pid] - before.get(pid, 0.0)) for pid in after)
    cores = psutil.cpu_count() or 1
    share = 100 * used / ((ended - began) * cores)
    words = f"{share:.1f} % of {cores} cores over {ended - began:.1f} s, {len(servers)} servers"
    return Observation(share, len(servers), words, source, since=began, until=ended, facts={"cores": cores})


@probe("database_memory", reads="state")
def database_memory(asked: Asked) -> Observation:
    """Memory that the databases' processes hold (shared pages once), as a share of this machine's or its cgroup's limit (%)."""
    source = "/proc/<pid>/smaps_rollup of the databases' processes"
    servers = _servers(asked)
    if not servers:
        return Observation(reason=ELSEWHERE, source=source)
    held = sum(_pss(process) for server in servers for process in _tree(server))
    limit = _limit()
    words = f"{held / 2**20:,.0f} MiB of {limit / 2**20:,.0f} MiB, {len(servers)} servers"
    return Observation(100 * held / limit, len(servers), words, source)


def _servers(asked: Asked) -> list[psutil.Process]:
    """Return the postmaster of each live database that runs on this machine; one that is elsewhere empties the list."""
    found: list[psutil.Process] = []
    for database in live(asked.environment):
        if not _here(database):
            return []
        with psycopg.connect(database.conninfo("rollout-checklist")) as connection:
            row = connection.execute("SELECT current_setting('data_directory'), pg_backend_pid()").fetchone()
            assert row is not None
            # While the session lives: its backend's parent is the server.
            server = psutil.Process(int(row[1])).parent()
            if server is None or server.cwd() != str(row[0]):
                return []
        found.append(server)
    return found


def _here(database: Database) -> bool:
    try:
        return ipaddress.ip_address(database.address).is_loopback
    except ValueError:
        return database.address == "localhost"


def _tree(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def _cpu_seconds(servers: list[psutil.Process]) -> dict[int, float]:
    found: dict[int, float] = {}
    for server in servers:
        for process in _tree(server):
            try:
                times = process.cpu_times()
            except psutil.Error:  # it ended meanwhile
                continue
            found[process.pid] = times.user + times.system
    return found


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _limit() -> int:
    cgroup = Path("/sys/fs/cgroup/memory.max")
    given = cgroup.read_text().strip() if cgroup.exists() else "max"
    total = int(psutil.virtual_memory().total)
    return min(int(given), total) if given.isdigit() else total
