"""A private Redis server beside the runner, which holds the content of one instant and stands still."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.snapshots.redis.client import command
from rollout.snapshots.redis.programs import Program
from rollout.snapshots.workspace import workspace

START_SECONDS = 15.0
POLL_SECONDS = 0.02
RDB = "dump.rdb"
UNPRIVILEGED = "nobody"
MINE = "penguin-rollout-"
MEMORY_FACTOR = 1.3  # what a server's data takes in the helper: some more, for its own buffers


@dataclass(frozen=True)
class Helper:
    """A running helper: how to talk to it, and how another server does (as its default user, by `password`)."""

    client: redis.Redis
    program: Program
    address: str
    port: int
    password: str
    folder: Path

    @property
    def rdb(self) -> Path:
        """Return where the helper's RDB is, as it got it or saved it."""
        return self.folder / RDB

    def log(self) -> str:
        """Return what the helper has said so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def stand_still(self) -> None:
        """Let nothing expire by itself: it would vanish between a digest and the file."""
        command(self.client, "DEBUG", "SET-ACTIVE-EXPIRE", "0")


def require_memory(data_bytes: int, host: str) -> None:
    """Raise Refused when this machine cannot hold a copy of a server's data beside what it does already."""
    needed, free = data_bytes * MEMORY_FACTOR, psutil.virtual_memory().available
    if free < needed:
        raise Refused(
            f"{free / 2**20:,.0f} MiB of memory are free on the runner",
            limit=f"{needed / 2**20:,.0f} MiB for a copy of {host} in a helper server",
            next="run it on a machine with more memory",
            page="runbooks/restore.md",
        )


@contextmanager
def helper(reaches: environment.Redis, program: Program, rdb: Path | None = None, word: str = "") -> Iterator[Helper]:
    """Run a server until the end of the block, with the content of `rdb` (which is moved) if given; it listens where
    `reaches` can find it, and takes `word` as its password (none: a new one).

    Raise Failed when it does not start. Its folder and process go even when we are killed: then the next call removes
    them.
    """
    with workspace("redis") as folder:
        account = pwd.getpwnam(UNPRIVILEGED) if os.getuid() == 0 else None
        # An unprivileged account cannot reach a checkout below a closed home: it gets its own copy, for as long as
        # it runs.
        binary = Path(shutil.copy(program.path, folder / "server"))
        binary.chmod(0o700)
        if rdb is not None:
            shutil.move(rdb, folder / RDB)
        address = _address_towards(reaches)
        password = word or MINE + secrets.token_hex(32)
        port = _free_port(address)
        _configure(folder, program, address, port, password)
        if account is not None:
            for path in (folder, binary, folder / "server.conf", *folder.glob(RDB)):
                os.chown(path, account.pw_uid, account.pw_gid)
        who: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        with open(folder / "server.log", "wb") as log:
            process = subprocess.Popen(
                [str(binary), str(folder / "server.conf")], cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, **who,
            )  # fmt: skip
        client = redis.Redis(host=address, port=port, password=password, socket_timeout=60, retry=Retry(NoBackoff(), 0))
        running = Helper(client, program, address, port, password, folder)
        try:
            _wait_until_up(running, process)
            running.stand_still()
            yield running
        finally:
            client.close()
            process.kill()
            process.wait()


def _configure(folder: Path, program: Program, address: str, port: int, password: str) -> None:
    # DEBUG is closed by default from Redis 7 on; before, there is no such setting.
    debug = "enable-debug-command yes\n" if program.version >= (7, 0) else ""
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    file = folder / "server.conf"
    file.touch(0o600)
    file.write_text(
        f'port {port}\nbind {" ".join(dict.fromkeys([address, "127.0.0.1"]))}\nrequirepass "{quoted}"\ndir {folder}\n'
        f'dbfilename {RDB}\nsave ""\nappendonly no\naof-use-rdb-preamble no\nrepl-diskless-sync yes\n'
        f"repl-diskless-sync-delay 0\nrepl-diskless-load disabled\n{debug}activerehashing no\nmaxmemory 0\n"
        "databases 1024\nstop-writes-on-bgsave-error no\n"
    )


def _address_towards(server: environment.Redis) -> str:
    # A UDP connect sends nothing and chooses a route.
    family = socket.getaddrinfo(server.address, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family[0], socket.SOCK_DGRAM) as probe:
        probe.connect(family[4])
        return str(probe.getsockname()[0])


def _free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _wait_until_up(running: Helper, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        try:
            running.client.ping()
            return
        except redis.BusyLoadingError:
            deadline = max(deadline, time.monotonic() + START_SECONDS)  # it loads, so it will answer
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                break
        time.sleep(POLL_SECONDS)
    words = running.log().strip()[-500:]
    raise Failed(
        f"the helper Redis server ({running.program.name}) did not start: {words}", next="run the same command again"
    )
