"""One phase of a run from command to verdict: lease, playbook, verdict, checklist."""

from __future__ import annotations

import getpass
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout import checklist, environment, order, preflight, release, runs, traffic
from rollout.engine import changes, controls, ledger
from rollout.environment import Environment
from rollout.errors import BadInput, Failed, RolloutError
from rollout.haproxy import Client
from rollout.monitoring import jobs
from rollout.objectstore import ObjectStore
from rollout.order import PhaseName, RunState
from rollout.road import command
from rollout.road.context import Request
from rollout.session import Session

UNREADABLE = "unreadable"
PLAYBOOKS: dict[PhaseName, str] = {
    "1": "01_prepare",
    "2": "02_rollout",
    "3": "03_cutover",
    "finalize": "finalize",
    "rollback": "rollback",
}
NAMES: dict[PhaseName, str] = {
    "1": "phase 1 prepare",
    "2": "phase 2 rollout",
    "3": "phase 3 cutover",
    "finalize": "finalize",
    "rollback": "rollback",
}


@dataclass(frozen=True)
class Ended:
    """How a phase ended: the run's state, seconds, and where its checklist is (None after a dry run)."""

    state: RunState | None
    seconds: float
    checklist: Path | None
    nothing_to_take_back: bool = False


def run(
    env: Environment, phase: PhaseName, show: Callable[[dict[str, Any]], None], *, dry_run: bool = False, why: str = "",
    snapshot: str = "",
) -> Ended:  # fmt: skip
    """Run a phase; raise what stopped it. With `dry_run` show what would be done: no lease, nothing written to any host.

    `snapshot`: of a rollback, the one that it brings back: schema, data and release, and what was written since is not there.
    """
    started, store, digest = time.monotonic(), ObjectStore(env.object_store), _digest(phase)
    artifacts = Path(env.artifacts)
    artifacts.mkdir(parents=True, exist_ok=True)
    if dry_run:
        order.decide(runs.current(store), phase, digest, to_snapshot=bool(snapshot))
        with tempfile.TemporaryDirectory(prefix="dry-run-", dir=artifacts) as scratch:
            command.play(env, _playbook(phase, snapshot), _request(env, Path(scratch), "dry-run", 0, check=True), show)
        return Ended(runs.current(store), time.monotonic() - started, None)
    if phase == "1":
        preflight.require_disk(env)
    operator = getpass.getuser()
    with _open(env, store, phase, operator, digest, to_snapshot=bool(snapshot)) as session:
        if session.nothing_to_take_back and not snapshot:
            session.passed(why=why or "asked for, with nothing to take back")
            return Ended(session.state(), time.monotonic() - started, None, nothing_to_take_back=True)
        folder = artifacts / session.run
        if snapshot:
            session.set_fact("to_snapshot", snapshot)
        if phase == "rollback" and not (snapshot and _without_blue(session)):
            _traffic_first(env, session, show)
        request = _request(env, folder, session.run, session.token, operator=operator, why=why)
        try:
            command.play(env, _playbook(phase, snapshot), request, show, lost=session.lost)
        except RolloutError as error:
            session.failed(error.observed, verdict=error.verdict)
            checklist.write(env, store, session.state(), folder)
            raise
        seconds = round(time.monotonic() - started, 3)
        asked = "asked for by the operator" if phase == "rollback" else ""
        session.passed({"command_seconds": seconds}, why=why or asked, snapshot=snapshot)
        paths = checklist.write(env, store, runs.read(store, session.run), folder)
    return Ended(runs.read(store, session.run), time.monotonic() - started, paths["md"])


def _playbook(phase: PhaseName, snapshot: str) -> str:
    return "rollback_to_snapshot" if snapshot else PLAYBOOKS[phase]


def _without_blue(session: Session) -> bool:
    """Tell whether the old release has no schema to serve before the snapshot is back: contract has begun to drop it."""
    return session.state().no_return is not None


def _open(
    env: Environment, store: ObjectStore, phase: PhaseName, operator: str, digest: str, *, to_snapshot: bool = False
) -> Session:
    """Open the phase of the run; where the store is away, a rollback still gives blue the traffic before it fails."""
    try:
        return runs.open_phase(
            store,
            env.name,
            phase,
            operator=operator,
            plan_digest=digest,
            lease_seconds=env.settings.lease_seconds,
            mirror=Path(env.artifacts),
            to_snapshot=to_snapshot,
        )
    except Failed as error:
        if phase != "rollback":
            raise
        done = traffic.to_blue(env)
        raise Failed(
            f"{error.observed}; traffic is on blue ({done.before:g} % -> {done.after:g} % on green), the schema is not back",
            next="bring the object store back, then invoke rollback",
            page="runbooks/rollback.md#traffic",
        ) from error


def _digest(phase: PhaseName) -> str:
    """Return the plan's digest; a plan that cannot be read must not keep a rollback from giving the traffic back."""
    try:
        return changes.digest()
    except BadInput:
        if phase != "rollback":
            raise
        return UNREADABLE


def _traffic_first(env: Environment, session: Session, show: Callable[[dict[str, Any]], None]) -> None:
    """Give blue the traffic before a playbook is even started: that takes milliseconds, starting one takes a second."""
    _start_blue(env, show)
    done = traffic.to_blue(env)
    facts: dict[str, Any] = {
        "before": traffic.told(done.before),
        "after": done.after,
        "seconds": round(done.seconds, 3),
        "at": time.time(),
        "token": session.token,
    }
    show({"step": "to_blue", "host": "load balancer", "rate": done.seconds,
          "text": f"done: {done.before:g} % -> {done.after:g} % on green; blue serves everything"})
    session.set_fact("traffic_back", facts)
    session.journal.append("traffic_back", **facts)


def _start_blue(env: Environment, show: Callable[[dict[str, Any]], None]) -> None:
    """Start blue where nothing of it is up (an interrupted finalize stops it); one that is up is enough to go back to."""
    servers = Client.of(env).servers()
    blue = env.colour("blue")
    if any((found := servers.get(a.haproxy_server)) is not None and found.up for a in blue):
        return
    for application in blue:
        done = release.deploy(env, application, env.settings.release_before)
        show(
            {
                "step": "start_blue",
                "host": application.host,
                "rate": done.seconds,
                "text": f"done: release {done.release} ready",
            }
        )


def status(env: Environment) -> dict[str, Any]:
    """Return where the environment's run stands: what the store says, and what balancer and ledgers say themselves."""
    seen: dict[str, Any] = {"environment": env.name, "observed": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        state = runs.current(ObjectStore(env.object_store))
        seen["run"] = state.model_dump(mode="json", exclude={"facts"}) if state else None
    except Failed as error:
        seen["run"], seen["run_error"] = None, error.observed
    try:
        seen["green_percent"] = traffic.told(traffic.split(env).percent)
        if seen["green_percent"] is None:
            seen["traffic_error"] = "no server has traffic"
    except RolloutError as error:
        seen["green_percent"], seen["traffic_error"] = None, error.observed
    seen["databases"] = [_database(database) for database in env.databases if database.host_set == "live"]
    rejects = [d["rejects"] for d in seen["databases"]]
    seen["rejects"] = None if None in rejects else sum(rejects)
    seen["lossless"] = None if seen["rejects"] is None else seen["rejects"] == 0
    back = (seen["run"] or {}).get("rolled_back")
    if back and back["snapshot"]:
        seen["lossless"] = False  # the ledgers are the snapshot's; what was written since is in the replaced databases
    return seen


def _database(database: environment.Database) -> dict[str, Any]:
    """Return what a database's ledger says: each change's stage, rows at risk of those that are swapped, and pauses."""
    told: dict[str, Any] = {"host": database.host, "tier": database.tier, "rejects": 0}
    told |= {"changes": {}, "at_risk": {}, "paused": {}, "jobs": []}
    try:
        with ledger.connect(database) as connection:
            if ledger.installed(connection):
                told["changes"] = {c.name: ledger.stage(connection, c.name) for c in changes.plan(database.tier)}
                risk = ledger.at_risk(connection)
                told["at_risk"] = {n: risk.get(n, 0) for n, s in told["changes"].items() if s == "swapped" or n in risk}
                told["rejects"] = sum(risk.values())
                told["jobs"] = jobs.standing(connection)
                told["paused"] = {pause.change: pause.to_dict() for pause in controls.all_paused(connection)}
    except RolloutError as error:
        told["error"], told["rejects"] = error.observed, None
    return told


def _request(
    env: Environment, folder: Path, run: str, token: int, *, operator: str = "", check: bool = False, why: str = ""
) -> Request:
    path = folder / "environment.json"
    environment.save(env, path)
    return Request(str(path), run, token, operator or getpass.getuser(), str(folder), check, why)
