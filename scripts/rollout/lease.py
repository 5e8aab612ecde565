"""A lease: who works on an environment, on which machine and in which process, and until when unless renewed.

A lease keeps two operators out of each other's way; it is not what keeps the data safe (a paused holder does not know
that it has lost it). That is the fencing token, which every ledger compares.

Times are the object store's: `ObjectStore.now` for the holder and for whoever wants its place, so clocks of hosts that
differ cannot shorten a lease. The process that holds it is recognised by pid and start time, because pids come again.
"""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from pydantic import AwareDatetime, BaseModel, ConfigDict

CLOCK_STEP_SECONDS = 1  # a Date header is cut to whole seconds


class Lease(BaseModel):
    """One holder's claim. `machine`: one boot of one host (and its pid namespace); `started`: see `_started`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    machine: str
    pid: int
    started: float
    operator: str
    phase: str
    since: AwareDatetime
    expires: AwareDatetime
    seconds: float

    def renewed(self, now: datetime) -> Lease:
        """Return this lease, running for its full length from `now`."""
        return self.model_copy(update={"expires": _end(now, self.seconds)})

    def is_free(self, now: datetime) -> bool:
        """Tell whether another may have it: it has run out, or its process on this machine is gone."""
        return now > self.expires or (self.machine == machine() and not _is_alive(self.pid, self.started))


def take(now: datetime, *, operator: str, phase: str, seconds: float) -> Lease:
    """Return a lease for this process that runs `seconds` from `now` (the store's time)."""
    return Lease(
        host=socket.gethostname(),
        machine=machine(),
        pid=os.getpid(),
        started=_started(os.getpid()),
        operator=operator,
        phase=phase,
        since=now,
        expires=_end(now, seconds),
        seconds=seconds,
    )


def machine() -> str:
    """Return what tells this boot of this host from all others, containers of one host included."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{uuid.getnode():x}/{psutil.boot_time():.0f}"


def _end(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds + CLOCK_STEP_SECONDS)


def _started(pid: int) -> float:
    """Return when a process began, in clock ticks since boot where /proc tells: an epoch moves when NTP steps the
    clock, and a living holder would then be taken for dead. Raise psutil.NoSuchProcess when there is none."""
    try:
        # The second field is the command in brackets and may hold anything, blanks and brackets included.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return psutil.Process(pid).create_time()
    return float(fields[19])


def _is_alive(pid: int, started: float) -> bool:
    try:
        return _started(pid) == started and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    except (psutil.AccessDenied, OSError):
        return True
