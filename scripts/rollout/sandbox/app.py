"""What the inventory's release commands call: `python -m rollout.sandbox.app build|start|stop HOST [--release R]`.

Which sandbox is meant comes from ROLLOUT_SANDBOX, as everywhere. Exit codes: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from rollout.environment import sandbox_name
from rollout.errors import BadInput, RolloutError
from rollout.sandbox import fleet, layout, record
from rollout.sandbox.application import Application


def find(host: str) -> Application:
    """Return the application process of a host of this shell's sandbox; raise BadInput when there is none."""
    place = layout.of(sandbox_name())
    known = record.read(place)
    if known is None:
        raise BadInput(f"the sandbox {place.name!r} is not up", next="invoke sandbox.up")
    servers = fleet.of(place, known.ports)
    found = servers.application(host)
    if found is None:
        hosts = ", ".join(a.host for a in servers.applications)
        raise BadInput(f"unknown application host {host!r}", limit=f"one of {hosts}", next="correct the host's name")
    return found


def build(application: Application, release: str) -> None:
    """Build a release in its own folder; what runs goes on undisturbed."""
    application.build(release)


def start(application: Application, release: str | None) -> None:
    """Run the built release and wait until it answers; a process of another release is stopped first."""
    built = application.built()
    if release is not None and built != release:
        raise BadInput(
            f"{application.host} has release {built or 'none'} built, not {release}",
            next=f"python -m rollout.sandbox.app build {application.host} --release {release}",
        )
    if not application.runs_built():
        application.down()
    application.ensure(application.launch, threading.Event())


def stop(application: Application) -> None:
    """Stop the process: SIGTERM, a deadline, SIGKILL."""
    application.down()


def main(argv: Sequence[str] | None = None) -> int:
    """Do one act on one host; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rollout.sandbox.app", description=__doc__)
    parser.add_argument("act", choices=("build", "start", "stop"))
    parser.add_argument("host")
    parser.add_argument("--release", help="what to build, or what start must find built")
    given = parser.parse_args(argv)
    try:
        application = find(given.host)
        if given.act == "build":
            if given.release is None:
                raise BadInput(
                    "build without a release", next=f"python -m rollout.sandbox.app build {given.host} --release v1"
                )
            build(application, given.release)
        elif given.act == "start":
            start(application, given.release)
        else:
            stop(application)
    except RolloutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
