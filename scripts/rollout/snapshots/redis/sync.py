"""Copies by replication: a server made the replica of another one, waited for, and cut loose."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import redis

from rollout import environment
from rollout.errors import Failed
from rollout.snapshots.redis.client import command, connect, password, put_back
from rollout.snapshots.redis.helper import Helper
from rollout.snapshots.redis.tunnel import way_to

SYNC_SECONDS = 600.0
POLL_SECONDS = 0.02
ALIVE_SECONDS = 1.0
REACH_SECONDS = 5.0
# What a replica logs when its primary will not have it. What passes by itself (it loads, it has no link) is no refusal.
_SAID = re.compile(
    r"(?:Unexpected reply to PSYNC from \w+|aborted replication with an error|Unable to AUTH to \w+): -?([A-Z]+)( .*)"
)
_FINAL = ("NOPERM", "NOAUTH", "WRONGPASS", "ERR", "DENIED")


class ReplicationRefused(Failed):
    """The server does not let itself be replicated; its content can still be read key by key."""


def follow(source: environment.Redis, to: Helper, address: tuple[str, int]) -> None:
    """Make the helper a replica of `source`, found at `address`, and return when it is one.

    Raise ReplicationRefused when the server says no, Failed at the deadline.
    """
    to.client.config_set("masteruser", source.user or "")
    to.client.config_set("masterauth", password(source) or "")
    with connect(source) as origin, _without_sync_delay(origin):
        command(to.client, "REPLICAOF", *address)
        wait_for_sync(to.client, source.host, to.log, origin)


def copy(source: environment.Redis, to: Helper) -> None:
    """Give the helper what `source` held at the instant of its fork, and its RDB byte for byte; cut it loose.

    The stream that followed the file is dropped again, so that file and content are one.
    """
    with way_to(source) as address:
        follow(source, to, address)
        command(to.client, "REPLICAOF", "NO", "ONE")
    to.stand_still()
    try:
        command(to.client, "DEBUG", "RELOAD", "NOSAVE")
    except redis.ResponseError as error:
        raise Failed(
            f"the helper ({to.program.name}) does not read the RDB of {source.host}: {error}",
            next="take the snapshot again; with way='records' if it stays so",
        ) from None


def wait_for_sync(
    replica: redis.Redis, what: str, log: Callable[[], str] = str, origin: redis.Redis | None = None,
    reached: Callable[[], bool] | None = None,
) -> None:  # fmt: skip
    """Return when a replica has a primary's whole content and follows its stream.

    Raise Failed after 600 s, or when `origin`, the primary, no longer answers; ReplicationRefused by what `log` says, or
    when the primary has not been `reached` after 5 s.
    """
    started = time.monotonic()
    asked = started
    while time.monotonic() < started + SYNC_SECONDS:
        if origin is not None and time.monotonic() > asked + ALIVE_SECONDS:
            asked = time.monotonic()
            _require_alive(origin, what)
        try:
            info: dict[str, Any] = replica.info("replication")
        except redis.BusyLoadingError:
            info = {}
        if info.get("master_link_status") == "up" and not info.get("master_sync_in_progress"):
            return
        refused = [m for m in _SAID.finditer(log()) if m[1] in _FINAL]
        if refused:
            raise ReplicationRefused(
                f"Redis {what} refuses replication: {refused[-1][1]}{refused[-1][2]}",
                next="give the runner's user +psync +replconf +ping, or take the snapshot with way='records'",
            )
        if reached is not None and time.monotonic() > started + REACH_SECONDS and not reached():
            raise ReplicationRefused(
                f"Redis {what} does not reach the helper server",
                limit=f"{REACH_SECONDS:.0f} s",
                next="let it connect to the runner",
            )
        time.sleep(POLL_SECONDS)
    raise Failed(
        f"the copy of Redis {what} did not finish",
        limit=f"{SYNC_SECONDS:.0f} s",
        next="see that the runner and the server reach each other, and "
        "the server's client-output-buffer-limit for replicas",
    )


def _require_alive(origin: redis.Redis, what: str) -> None:
    try:
        origin.ping()
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Failed(
            f"Redis {what} went away while it was copied: {error}", next="see that it runs, then the same command again"
        ) from None


@contextmanager
def _without_sync_delay(origin: redis.Redis) -> Iterator[None]:
    # By default a primary waits 5 s for more replicas. A managed server may not let CONFIG be used: then we wait.
    with ExitStack() as held:
        with suppress(redis.ResponseError):
            held.enter_context(put_back(origin, "repl-diskless-sync-delay", "0"))
        yield
