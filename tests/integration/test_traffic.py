"""Shifts, drains, gates and releases against a real HAProxy and real servers under a stream of requests."""

from __future__ import annotations

import http.client
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from checklist_asked import judged
from traffic_servers import APPLICATION, Fleet, Stream, wait

from rollout import accesslog, gates, release, traffic
from rollout.errors import Failed, Refused
from rollout.haproxy import Client

REQUEST_GATES = ["error_rate", "latency_p99"]
STARTER = """
import subprocess, sys
log = open(sys.argv[1], "ab")
p = subprocess.Popen(sys.argv[2:], stdout=log, stderr=log, start_new_session=True)
open(sys.argv[1] + ".pid", "w").write(str(p.pid))
"""
STOPPER = """
import os, signal, sys, time
pid = int(open(sys.argv[1] + ".pid").read())
try:
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        os.kill(pid, 0); time.sleep(0.05)
except ProcessLookupError:
    pass
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    servers = Fleet(tmp_path, gate_window_seconds=3, gate_deadline_seconds=10, gate_samples_min=100)
    yield servers
    servers.stop()


def test_shift_there_and_back_loses_nothing(fleet: Fleet) -> None:
    """0, 10, 25, 50, 100 and back to 0 under load: exact weights, exact counts, no failed request."""
    env = fleet.environment
    with Stream(fleet.port) as stream:
        for percent in (10, 25, 50, 100, 0):
            done = traffic.shift(env, percent)
            assert done.after == percent and done.seconds < 1
            time.sleep(0.5)
        traffic.shift(env, 10)
    time.sleep(0.2)
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port)
    began = time.time()
    for _ in range(1000):
        connection.request("GET", "/count")
        connection.getresponse().read()
    time.sleep(0.2)
    counted = Counter(e.server for e in accesslog.read(env.load_balancer.log, began, time.time()))
    assert sum(counted.values()) == 1000
    assert abs(counted["green-1"] + counted["green-2"] - 100) <= 2
    assert not stream.failures and stream.answers[200] > 300


def test_drain_then_kill_loses_nothing(fleet: Fleet) -> None:
    """A drained colour has no session left, and its processes can go without a failed request."""
    env = fleet.environment
    with Stream(fleet.port) as stream:
        traffic.shift(env, 50)
        time.sleep(0.5)
        assert traffic.drain(env, "green", 5).left == {}
        fleet.kill("green-1")
        fleet.kill("green-2")
        time.sleep(0.5)
    assert not stream.failures
    with pytest.raises(Refused):
        traffic.drain(env, "blue", 1)


def test_to_blue_with_green_killed(fleet: Fleet) -> None:
    """Traffic is back on blue within a second of the command although green was killed under it; it repeats."""
    env = fleet.environment
    traffic.shift(env, 100)
    with Stream(fleet.port) as stream:
        time.sleep(0.3)
        fleet.kill("green-1")
        fleet.kill("green-2")
        done = traffic.to_blue(env)
        assert done.after == 0 and done.seconds < 1
        settled = len(stream.failures)
        time.sleep(0.2)
        settled = len(stream.failures)
        time.sleep(1)
        assert len(stream.failures) == settled
    assert traffic.to_blue(env).before == 0
    with pytest.raises(Refused, match="green"):
        traffic.shift(env, 10)


def test_gates_pass_then_fail_on_a_slow_green(fleet: Fleet) -> None:
    """A green like blue passes once the window is full; a slow one fails before the deadline, with numbers."""
    env = fleet.environment
    traffic.shift(env, 50)
    with Stream(fleet.port):
        began = time.monotonic()
        verdicts = gates.evaluate(env, REQUEST_GATES, time.time())
        assert gates.worst(verdicts) == "pass", verdicts
        assert time.monotonic() - began >= 3
        baseline = gates.baseline_of(verdicts)
        fleet.mode("green-1", delay_ms=150)
        fleet.mode("green-2", delay_ms=150)
        verdicts = gates.evaluate(env, REQUEST_GATES, time.time())
        assert gates.worst(verdicts) == "fail", verdicts
        assert "green" in verdicts[1].observed and verdicts[1].verdict == "fail"
        traffic.shift(env, 100)
        seen: list[str] = []
        watched = gates.watch(env, 30, lambda v: seen.append(gates.worst(v)), names=REQUEST_GATES, baseline=baseline)
        assert gates.worst(watched) == "fail" and seen == ["fail"]


def test_gates_fail_on_errors_and_refuse_without_traffic(fleet: Fleet) -> None:
    """A green that fails one request in ten fails at once; without traffic on green the deadline ends inconclusive."""
    env = fleet.environment
    assert gates.worst(gates.evaluate(env, REQUEST_GATES, time.time())) == "inconclusive"
    traffic.shift(env, 50)
    fleet.mode("green-1", fail=0.2)
    with Stream(fleet.port):
        began = time.monotonic()
        verdicts = gates.evaluate(env, REQUEST_GATES, time.time())
        assert {v.name: v.verdict for v in verdicts}["error_rate"] == "fail", verdicts
        assert time.monotonic() - began < 10


def test_release_is_deployed_once_and_proven(fleet: Fleet, tmp_path: Path) -> None:
    """A release is started behind no traffic, proven by /version, given back, and not restarted by a repeat."""
    name = "green-2"
    log = str(tmp_path / "app.log")
    commands = {
        "release_build_command": [sys.executable, "-c", "print('built')"],
        "release_start_command": [
            sys.executable,
            "-c",
            STARTER,
            log,
            sys.executable,
            str(APPLICATION),
            str(fleet.ports[name]),
            "{release}",
            "d1",
        ],
        "release_stop_command": [sys.executable, "-c", STOPPER, log],
    }
    env = fleet.environment.model_copy(update={"settings": fleet.environment.settings.model_copy(update=commands)})
    application = next(a for a in env.applications if a.haproxy_server == name)
    fleet.kill(name)
    Path(log + ".pid").write_text("999999999")
    try:
        wait(lambda: not Client.of(env).servers()[name].up)
        first = release.deploy(env, application, "v2")
        assert first.changed and first.release == "v2" and first.digest == "d1"
        pid = Path(log + ".pid").read_text()
        assert not release.deploy(env, application, "v2").changed
        assert Path(log + ".pid").read_text() == pid
        server = Client.of(env).servers()[name]
        assert server.up and server.state == "ready" and server.weight == 0
        traffic.shift(env, 10)
        with pytest.raises(Refused, match="has traffic"):
            release.stop(env, application)
        with pytest.raises(Refused, match="has traffic"):
            release.deploy(env, application, "v3")
        traffic.to_blue(env)
        release.stop(env, application)
        assert not fleet.answers(name)
    finally:
        release._run(env, application, "v2", "stop", commands["release_stop_command"])


def test_failing_command_tells_its_last_line(fleet: Fleet) -> None:
    """A build that fails raises with its last line and where the log is, and nothing is restarted."""
    command = [sys.executable, "-c", "import sys; print('compiling'); sys.exit('disk full')"]
    env = fleet.environment.model_copy(
        update={"settings": fleet.environment.settings.model_copy(update={"release_build_command": command})}
    )
    with pytest.raises(Failed, match="exited 1: disk full"):
        release.deploy(env, env.colour("green")[0], "v2")
    assert fleet.answers("green-1")


def test_probes_measure_requests_and_nothing_else_without_databases(fleet: Fleet) -> None:
    """Averages come from the log; what cannot be measured says so, with a reason."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port)
    began = time.time()
    for path in ("/campaigns", "/jobs/work") * 25:
        connection.request("POST", path, body=b"{}")
        connection.getresponse().read()
    time.sleep(0.2)
    found = judged(fleet.environment, began, time.time(), "oltp_response", "content_retrieval", "queue_failures")
    assert found["oltp_response"]["verdict"] == "pass" and found["oltp_response"]["n"] == 25
    assert found["content_retrieval"]["verdict"] == found["queue_failures"]["verdict"] == "not measured"
    assert all(i["observed"] for i in found.values())
