"""Processes of a sandbox: started so that nobody is ever lost, found again after a crash, stopped without error.

The identity of a process is its pid, the boot it belongs to and the tick it was born at, so that a pid that
another process got after a crash or a reboot is never taken for ours, and never signalled.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import Failed
from rollout.sandbox.account import Account

# The child writes its own identity into the pid file (its standard input) and only then becomes the server: there
# is no instant at which the server runs unrecorded, whoever is interrupted or killed meanwhile.
_LAUNCH = (
    "read -r boot </proc/sys/kernel/random/boot_id; read -r stat </proc/self/stat; "
    'printf "%s %s\\n%s\\n" "$$" "$boot" "$stat" >&0; exec "$@" </dev/null'
)
# Popen objects of servers that this process started: polled, so that a dead one does not stay as a zombie.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class PidFile:
    """Where the identity of one server is kept."""

    path: Path

    def pid(self) -> int | None:
        """Return the pid if the very process that was recorded still runs, else None."""
        try:
            first, stat = self.path.read_text().splitlines()
            pid, boot = int(first.split()[0]), first.split()[1]
            recorded = f"{boot}/{_ticks(stat)}"
        except (FileNotFoundError, ValueError, IndexError):
            return None  # never started, or torn when the machine went down
        return pid if birth(pid) == recorded else None

    def start(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        log: Path,
        env: Mapping[str, str],
        account: Account | None = None,
        output: Path | None = None,
    ) -> None:
        """Start `argv` in `folder` as `account` (None: as we are), detached.

        What it says is appended to `log`, or only its standard error when its `output` has a file of its own.
        """
        with (
            open(self.path, "wb", opener=_private) as identity,
            open(log, "ab", opener=_private) as errors,
            open(output or log, "ab", opener=_private) as says,
        ):
            who = {} if account is None else account.popen()
            _children.append(
                subprocess.Popen(
                    ["/bin/sh", "-c", _LAUNCH, "sh", *argv],
                    stdin=identity, stdout=says, stderr=errors, cwd=folder, env=dict(env), start_new_session=True, **who,
                )
            )  # fmt: skip

    def wait_identity(self, seconds: float = 5.0) -> None:
        """Wait until the child has written its identity, at most `seconds`; raise Failed when it did not."""
        deadline = time.monotonic() + seconds
        while self.path.read_text().count("\n") < 2:
            if time.monotonic() > deadline:
                raise Failed(f"{self.path.stem} did not start within {seconds:.0f} s", next="invoke sandbox.up")
            time.sleep(0.005)

    def stop(self, *steps: tuple[signal.Signals, float]) -> bool:
        """Send each signal in turn, waiting its seconds for the end; return whether there was anything to stop.

        Raise Failed when the process outlives the last step. The pid file goes once the process is gone.
        """
        pid = self.pid()
        if pid is None:
            self.path.unlink(missing_ok=True)
            return False
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            handle = None
        if handle is not None:
            try:
                # The handle may have been opened on a successor of that pid: look again before the first signal.
                if self.pid() == pid and not _ended(handle, pid, steps):
                    raise Failed(f"{self.path.stem} (pid {pid}) outlived SIGKILL", next="invoke sandbox.down")
            finally:
                os.close(handle)
        reap()
        self.path.unlink(missing_ok=True)
        return True


def birth(pid: int) -> str | None:
    """Return boot id and start tick of a live process; None when there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if stat[stat.rindex(")") + 2] in "ZX":
        return None
    return f"{boot}/{_ticks(stat)}"


def reap() -> None:
    """Collect the exit of servers that this process started and that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def _ticks(stat: str) -> str:
    # Field 22 of proc_pid_stat(5); the command's name, in brackets, may hold blanks.
    return stat[stat.rindex(")") + 2 :].split()[19]


def _ended(handle: int, pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    for number, seconds in steps:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
            if number is signal.SIGKILL:
                # Each server leads its own session and group: whatever it forked goes with it.
                os.killpg(pid, number)
        if select.select([handle], [], [], seconds)[0]:
            return True
    return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
