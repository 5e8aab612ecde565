"""A release of the application on one host: built, stopped, started by the inventory's commands, proven, given back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout import traffic
from rollout.environment import ROOT, Application, Environment
from rollout.errors import Failed, Refused
from rollout.haproxy import Client

COMMAND_SECONDS = 300.0
INSIST_SECONDS = 60.0
READY_SECONDS = 60.0
UP_SECONDS = 15.0
REQUEST_SECONDS = 2.0
POLL_SECONDS = 0.1
PAGE = "runbooks/deploy.md#release"


@dataclass(frozen=True)
class Released:
    """What runs on a host: the release, its digest as the process tells it, whether this call changed it, seconds."""

    host: str
    release: str
    digest: str
    changed: bool
    seconds: float


def deploy(environment: Environment, application: Application, release: str) -> Released:
    """Make a host run a release, up and ready behind the balancer, its weight unchanged; a repeat changes nothing.

    Raises Refused while the server has traffic or is the last one, Failed with the last line of a command that fails,
    or when the process does not say within READY_SECONDS that it is ready and this very build.
    """
    began = time.monotonic()
    settings = environment.settings
    _run(environment, application, release, "build", settings.release_build_command)
    wanted = _digest(application)
    running = _version(application)
    changed = not _is(running, release, wanted) or _status(application, "/ready") != 200
    if changed:
        _take_out(environment, application)
        _run(environment, application, release, "stop", settings.release_stop_command)
        _run(environment, application, release, "start", settings.release_start_command)
        running = _await(environment, application, release, wanted)
    traffic.ready(environment, application, UP_SECONDS)
    return Released(application.host, release, str(running.get("digest", "")), changed, time.monotonic() - began)


def stop(environment: Environment, application: Application, *, insist: bool = False) -> int:
    """Drain a host's server and stop its process; return the sessions that were open then.

    Raises Refused while the server has a weight above 0, or while sessions are left after drain_timeout_seconds; with
    `insist` these are not waited for any longer, and the stop command has INSIST_SECONDS. A process that is gone is not
    waited for; the stop command is run all the same. Raises Failed when that fails or the process still answers.
    """
    left = _take_out(environment, application, insist=insist)
    settings = environment.settings
    # One that does not answer cannot say what it runs; what its colour runs in a rollout is then the best name for it.
    usual = settings.release_after if application.colour == "green" else settings.release_before
    release = str(_version(application).get("release") or usual)
    _run(
        environment, application, release, "stop", settings.release_stop_command,
        seconds=INSIST_SECONDS if insist else None,
    )  # fmt: skip
    if _version(application):
        raise Failed(
            f"{application.host} still answers after it was stopped",
            next=f"read {_log(environment, application)}",
            page=PAGE,
        )
    return left


def _take_out(environment: Environment, application: Application, *, insist: bool = False) -> int:
    """Prove that the server gets nothing before its process is touched: weight 0, drained; return the sessions left."""
    name = application.haproxy_server
    server = Client.of(environment).servers().get(name)
    if server is None:
        raise Failed(
            f"the load balancer knows no server {name!r}", next="correct app_haproxy_server in the inventory", page=PAGE
        )
    if server.weight > 0 and server.state == "ready":
        raise Refused(
            f"{name} has traffic (weight {server.weight})",
            limit="weight 0",
            next="shift its traffic away first (invoke rollback takes green's)",
            page=PAGE,
        )
    gone = not _listens(application)
    drained = traffic.drain_servers(environment, [name], 0 if gone else environment.settings.drain_timeout_seconds)
    if drained.left and not (gone or insist):
        raise Refused(
            f"{name} still has {drained.left[name]} sessions after {drained.seconds:.1f} s",
            limit="0 sessions",
            next="wait for them, then repeat; drain_timeout_seconds sets how long",
            page=PAGE,
        )
    return drained.left.get(name, 0)


def _run(
    environment: Environment,
    application: Application,
    release: str,
    act: str,
    command: list[str],
    *,
    seconds: float | None = None,
) -> None:
    """Run one of the inventory's commands; its output goes to the host's log, its last line into the error."""
    limit = COMMAND_SECONDS if seconds is None else seconds
    values = {
        "host": application.host,
        "release": release,
        "release_dir": application.release_dir,
        "python": sys.executable,
    }
    argv = [part.format(**values) for part in command]
    log = _log(environment, application)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {act} {release}\n".encode())
        output.flush()
        # a file, not a pipe: what a start command leaves running must not keep us waiting for the pipe's end
        process = _start(argv, output, act, application)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Failed(
                f"{act} of {application.host} did not end: {_last(log)}",
                limit=f"{limit:g} s",
                next=f"read {log}",
                page=PAGE,
            ) from None
    if code != 0:
        raise Failed(
            f"{act} of {application.host} exited {code}: {_last(log)}", limit="exit 0", next=f"read {log}", page=PAGE
        )


def _start(argv: list[str], output: Any, act: str, application: Application) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=ROOT
        )
    except OSError as error:
        raise Failed(
            f"{act} of {application.host} cannot run {argv[0]}: {error.strerror}",
            next=f"correct release_{act}_command in the inventory",
            page=PAGE,
        ) from error


def _await(environment: Environment, application: Application, release: str, digest: str) -> dict[str, Any]:
    end = time.monotonic() + READY_SECONDS
    while True:
        status, told = _status(application, "/ready"), _version(application)
        if status == 200 and _is(told, release, digest):
            return told
        if time.monotonic() >= end:
            raise Failed(
                f"{application.host} is not ready with {release}: /ready says {status or 'nothing'}, "
                f"/version {told.get('release', 'nothing')} {str(told.get('digest', ''))[:12]}",
                limit=f"{READY_SECONDS:g} s",
                next=f"read {_log(environment, application)}",
                page=PAGE,
            )
        time.sleep(POLL_SECONDS)


def _is(told: dict[str, Any], release: str, digest: str) -> bool:
    return told.get("release") == release and (not digest or told.get("digest") == digest)


def _digest(application: Application) -> str:
    """Return the digest that the build left in RELEASE; empty for a build that leaves none: then the name has to do."""
    try:
        return str(json.loads((Path(application.release_dir) / "RELEASE").read_text()).get("sha256", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _version(application: Application) -> dict[str, Any]:
    """Return what /version says, or nothing when nobody answers properly."""
    try:
        with urllib.request.urlopen(application.url.rstrip("/") + "/version", timeout=REQUEST_SECONDS) as answer:
            told = json.loads(answer.read(65536))
            return told if isinstance(told, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return {}


def _listens(application: Application) -> bool:
    """Tell whether anybody accepts connections; only a refusal is a no, since a host that is silent may be busy."""
    asked = urllib.parse.urlsplit(application.url)
    try:
        port = asked.port or (443 if asked.scheme == "https" else 80)
        socket.create_connection((asked.hostname or "", port), REQUEST_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def _status(application: Application, path: str) -> int:
    """Return the HTTP status of a path, 0 when nobody answers."""
    try:
        with urllib.request.urlopen(application.url.rstrip("/") + path, timeout=REQUEST_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def _log(environment: Environment, application: Application) -> Path:
    return Path(environment.artifacts) / "releases" / f"{application.host}.log"


def _last(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "no output"
