"""Identity of processes: never lost, never mistaken for another."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rollout.sandbox.processes import PidFile, birth

ENV = {"PATH": os.defpath}
GENTLY = (signal.SIGTERM, 5.0)
HARD = (signal.SIGKILL, 5.0)


@pytest.fixture
def pidfile(tmp_path: Path) -> PidFile:
    """A pid file that nothing has been written to."""
    return PidFile(tmp_path / "server.pid")


def _start(pidfile: PidFile, *argv: str) -> int:
    pidfile.start(argv, folder=pidfile.path.parent, log=pidfile.path.with_suffix(".log"), env=ENV)
    pidfile.wait_identity()
    pid = pidfile.pid()
    assert pid is not None
    return pid


def test_a_started_process_is_recorded_by_itself_and_stopped(pidfile: PidFile) -> None:
    """The pid file holds the process that became the server; stop ends it and removes the file."""
    pid = _start(pidfile, "sleep", "60")
    assert Path(f"/proc/{pid}/stat").exists()
    assert pidfile.stop(GENTLY, HARD) is True
    assert birth(pid) is None
    assert not pidfile.path.exists()


def test_stopping_what_does_not_run_is_no_error(pidfile: PidFile) -> None:
    """Without a process, or after its death, there is nothing to stop."""
    assert pidfile.stop(GENTLY) is False
    os.kill(_start(pidfile, "sleep", "60"), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while pidfile.pid() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pidfile.stop(GENTLY) is False


def test_a_process_that_ignores_sigterm_is_killed(pidfile: PidFile) -> None:
    """The next signal comes after its deadline."""
    pid = _start(pidfile, "/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    time.sleep(0.1)  # the trap is set by then; if it were not, SIGTERM would do and the test still hold
    assert pidfile.stop((signal.SIGTERM, 0.2), HARD) is True
    assert birth(pid) is None


@pytest.mark.parametrize("change", ["pid", "boot", "tick"])
def test_another_process_with_the_pid_is_not_ours(pidfile: PidFile, change: str) -> None:
    """A stranger that got the pid, after a reboot or not, is neither shown as running nor signalled."""
    pid = _start(pidfile, "sleep", "60")
    ours = pidfile.path.read_text()
    time.sleep(0.05)  # no kernel gives one pid twice within a clock tick (10 ms), so the stranger is to be born later
    with subprocess.Popen(["/bin/sleep", "5"]) as stranger:
        if change == "pid":
            pidfile.path.write_text(ours.replace(f"{pid} ", f"{stranger.pid} ", 1))
        elif change == "boot":
            first, rest = ours.split("\n", 1)
            pidfile.path.write_text(f"{first.split()[0]} 00000000-0000-0000-0000-000000000000\n{rest}")
        else:
            head, _, tail = ours.rpartition(")")
            fields = tail.split()
            fields[19] = str(int(fields[19]) - 1)
            pidfile.path.write_text(f"{head}) {' '.join(fields)}\n")
        assert pidfile.pid() is None
        assert pidfile.stop(HARD) is False
        assert stranger.poll() is None
        assert birth(pid) is not None
        stranger.kill()
    pidfile.path.write_text(ours)
    assert pidfile.stop(HARD) is True


def test_a_torn_pid_file_is_no_process(pidfile: PidFile) -> None:
    """What a child wrote half of, before the machine went down, names nobody."""
    for text in ("", "123", "123 boot\n", "x y\nz\n"):
        pidfile.path.write_text(text)
        assert pidfile.pid() is None
