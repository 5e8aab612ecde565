"""A sandbox on real servers: started, healed after kills and interruptions, stopped without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from rollout import environment, sandbox
from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput
from rollout.sandbox import layout, lifecycle, record

NAME = f"test-{os.getpid()}"
SCALE = 0.01
HOSTS = 8 + 2 + 1 + 4 + 1


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """A filled sandbox of this test run, purged afterwards."""
    before = os.environ.get("ROLLOUT_SANDBOX")
    os.environ["ROLLOUT_SANDBOX"] = NAME
    try:
        sandbox.up(NAME, scale=SCALE, seed=3)
        yield NAME
    finally:
        sandbox.down(NAME, purge=True)
        os.environ.pop("ROLLOUT_SANDBOX")
        if before is not None:
            os.environ["ROLLOUT_SANDBOX"] = before


def _pids(name: str) -> dict[str, int | None]:
    return {server.host: server.pid for server in sandbox.status(name)}


def _down_or_silent(name: str) -> list[str]:
    return [s.host for s in sandbox.status(name) if not (s.running and s.answering)]


def _left(name: str, ports: set[int]) -> list[str]:
    folder = str(ROOT / ".sandbox" / name) + "/"
    found = [
        f"port {c.laddr.port}"
        for c in psutil.net_connections("tcp")
        if c.laddr and c.laddr.port in ports and c.status == "LISTEN"
    ]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and folder in " ".join(
                [*process.cmdline(), process.cwd(), "/"]
            ):
                found.append(str(process))
    return found


def test_everything_answers_and_the_inventory_loads(name: str) -> None:
    """All servers answer a real request, and environment.load finds both host sets, secrets kept private."""
    assert len(sandbox.status(name)) == HOSTS
    assert _down_or_silent(name) == []
    here = environment.load("sandbox")
    assert [d.tier for d in here.databases] == [*TIERS, *TIERS]
    for secret in ("pgpass", "pgpass-superuser", "s3-credentials", "inventory.yml", "sandbox.json"):
        assert stat.S_IMODE((ROOT / ".sandbox" / name / secret).stat().st_mode) == 0o600, secret


def test_roles_and_databases_are_as_agreed(name: str) -> None:
    """The runner owns every database and is no superuser; the live ones are filled, the staging ones empty."""
    for database in environment.load("sandbox").databases:
        with psycopg.connect(database.conninfo()) as connection:
            row = connection.execute(
                "SELECT pg_get_userbyid(datdba), rolsuper, rolcreatedb, pg_has_role('pg_monitor', 'member'),"
                " (SELECT count(*) FROM pg_tables WHERE schemaname = 'public'), (SELECT count(*) FROM pg_stat_statements) > 0"
                " FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user"
            ).fetchone()
        assert row is not None
        assert row[:4] == ("penguin_rollout", False, True, True)
        assert (row[4] > 0) is (database.host_set == "live"), database.host
        assert row[5] is True


def test_traffic_goes_to_blue_and_is_logged_as_json(name: str) -> None:
    """Behind the load balancer blue answers alone, and each request becomes one JSON object without its query."""
    balancer = environment.load("sandbox").load_balancer
    before = len(Path(balancer.log).read_text().splitlines())
    for n in range(6):
        with urllib.request.urlopen(f"{balancer.url}/version?n={n}", timeout=5) as answer:
            assert json.load(answer)["colour"] == "blue"
    deadline = time.monotonic() + 5
    while len(lines := Path(balancer.log).read_text().splitlines()[before:]) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    logged = [json.loads(line) for line in lines]
    assert [entry["path"] for entry in logged] == ["/version"] * 6
    assert sorted(entry["server"] for entry in logged) == ["blue-1"] * 3 + ["blue-2"] * 3
    assert {entry["status"] for entry in logged} == {200}


def test_up_again_changes_nothing(name: str) -> None:
    """A second up keeps every process, and takes no other filling than the first."""
    before = _pids(name)
    sandbox.up(name)
    sandbox.up(name, scale=SCALE, seed=3)
    assert _pids(name) == before
    with pytest.raises(BadInput, match="seed"):
        sandbox.up(name, seed=4)
    assert _pids(name) == before


def test_up_heals_what_was_killed_and_keeps_the_rest(name: str) -> None:
    """After SIGKILL of one of each kind only those are started anew, with their data and the weights last seen."""
    balancer = environment.load("sandbox").load_balancer
    address, port = balancer.socket.split(":")
    with socket.create_connection((address, int(port)), timeout=5) as connection:
        connection.sendall(b"set weight app/green-1 25; set weight app/blue-1 75\n")
        connection.recv(1024)
    before = _pids(name)
    victims = {"pg-queue-1", "redis-1", "object-store-1", "app-green-1", "lb-1"}
    for victim in victims:
        os.kill(before[victim] or 0, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while set(_down_or_silent(name)) != victims and time.monotonic() < deadline:
        time.sleep(0.05)
    sandbox.up(name)
    assert _down_or_silent(name) == []
    after = _pids(name)
    assert {host for host in after if after[host] != before[host]} == victims
    assert json.loads(layout.of(name).weights.read_text()) == {"blue-1": 75, "blue-2": 100, "green-1": 25, "green-2": 0}


def test_up_heals_after_all_were_killed(name: str) -> None:
    """After SIGKILL of everything, as after a power cut, all come back on the same ports with the same rows."""
    database = environment.load("sandbox").database("pg-queue-1")
    with psycopg.connect(database.conninfo()) as connection:
        jobs = connection.execute("SELECT count(*) FROM jobs").fetchone()
    for pid in _pids(name).values():
        os.kill(pid or 0, signal.SIGKILL)
    sandbox.up(name)
    assert _down_or_silent(name) == []
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == jobs


def test_a_taken_port_is_refused_by_name_and_nothing_starts(name: str) -> None:
    """While the sandbox is down a stranger takes a recorded port: one line says which and who; up works after it left."""
    place = layout.of(name)
    known = record.read(place)
    assert known is not None
    sandbox.down(name)
    assert _left(name, set(known.ports.values())) == []
    with pytest.raises(BadInput, match="not up"):
        environment.load("sandbox")
    with socket.create_server(("127.0.0.1", known.ports["redis-1"])), pytest.raises(BadInput) as refused:
        sandbox.up(name)
    assert f"port {known.ports['redis-1']} (redis-1" in refused.value.observed
    assert str(os.getpid()) in refused.value.observed
    assert [s.host for s in sandbox.status(name) if s.running] == []
    sandbox.up(name)
    assert _down_or_silent(name) == []


def test_releases_are_built_and_started_by_command(name: str) -> None:
    """The inventory's commands put green on v2 and back; start without a build of that release is bad input."""

    def command(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "rollout.sandbox.app", *words], check=False, timeout=60).returncode

    green = next(a for a in environment.load("sandbox").applications if a.host == "app-green-2")

    def version() -> str:
        with urllib.request.urlopen(f"{green.url}/version", timeout=5) as answer:
            return str(json.load(answer)["release"])

    assert command("start", green.host, "--release", "v2") == 2
    assert version() == "v1"
    assert command("build", green.host, "--release", "v2") == 0
    assert version() == "v1"
    assert command("start", green.host, "--release", "v2") == 0
    assert version() == "v2"
    pid = _pids(name)[green.host]
    assert command("start", green.host, "--release", "v2") == 0
    assert _pids(name)[green.host] == pid
    assert command("stop", green.host) == 0
    assert command("stop", green.host) == 0
    assert _pids(name)[green.host] is None
    assert command("build", green.host, "--release", "v1") == 0
    assert command("start", green.host, "--release", "v1") == 0
    assert version() == "v1"
    assert command("start", "app-red-1") == 2


def test_too_small_a_disk_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is free and the limit; no process, no port, no data."""
    other = f"{NAME}-c"
    monkeypatch.setattr(lifecycle, "_settings", lambda: {"disk_free_min_gib": 1e9})
    try:
        with pytest.raises(BadInput, match="GiB free") as refused:
            sandbox.up(other, scale=SCALE, seed=3)
        assert "disk_free_min_gib" in refused.value.limit
        assert record.read(layout.of(other)) is None
    finally:
        sandbox.down(other, purge=True)


def test_an_interrupted_start_of_a_second_sandbox_loses_nobody(name: str) -> None:
    """Ctrl-C in the middle of up, beside the first sandbox: down finds every process, the first is untouched."""
    other = f"{name}-b"
    before = _pids(name)
    code = f"from rollout import sandbox; sandbox.up({other!r}, scale={SCALE}, seed=3)"
    try:
        for seconds in (1.2, 2.0, 4.0):
            with subprocess.Popen(
                [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True
            ) as starting:
                time.sleep(seconds)
                os.killpg(starting.pid, signal.SIGINT)
                starting.wait(timeout=30)
        known = record.read(layout.of(other))
        assert known is not None
        assert not set(known.ports.values()) & set((record.read(layout.of(name)) or known).ports.values())
        sandbox.down(other)
        assert _left(other, set(known.ports.values())) == []
        assert sandbox.down(other) == []
    finally:
        sandbox.down(other, purge=True)
    assert not layout.of(other).home.exists()
    assert _pids(name) == before
