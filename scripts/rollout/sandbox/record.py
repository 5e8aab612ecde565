"""The record of a sandbox (`sandbox.json`): what was chosen at its first start and what has been completed since."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.environment import ROOT
from rollout.errors import BadInput, Refused
from rollout.sandbox.layout import Layout


class Seeding(BaseModel):
    """What the live databases and Redis were filled with. Not complete: begun, so what is there is thrown away."""

    model_config = ConfigDict(extra="forbid")
    scale: float
    seed: int
    complete: bool


class Record(BaseModel):
    """Choices that outlive a start: ports by key, whether programs come from PATH, where the servers' data is."""

    model_config = ConfigDict(extra="forbid")
    name: str
    ports: dict[str, int]
    path_binaries: bool
    servers: str
    seeding: Seeding | None = None


def path(layout: Layout) -> Path:
    """Return where the record is kept."""
    return layout.home / "sandbox.json"


def read(layout: Layout) -> Record | None:
    """Return the record, None when the sandbox was never started; raise BadInput when it cannot be read."""
    try:
        return Record.model_validate_json(path(layout).read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise _foreign(layout) from None
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BadInput(f"{path(layout)} cannot be read: {reason}", next="invoke sandbox.down --purge") from None


def write(layout: Layout, record: Record) -> None:
    """Write the record, whole or not at all."""
    replace(path(layout), record.model_dump_json(indent=2) + "\n")


def replace(target: Path, text: str) -> None:
    """Write a file of the invoking user, mode 0600, whole or not at all."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    with open(part, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)


def ports_of_others(layout: Layout) -> set[int]:
    """Return the ports that other sandboxes of this checkout have recorded, up or down."""
    taken: set[int] = set()
    for folder in (ROOT / ".sandbox").glob("*/sandbox.json"):
        if folder.parent != layout.home:
            with contextlib.suppress(BadInput):
                other = read(Layout(folder.parent.name, folder.parent))
                taken |= set(other.ports.values()) if other else set()
    return taken


def lock_file(layout: Layout) -> Path:
    """Return the lock of a sandbox, which lies beside its folder."""
    return layout.home.parent / f"{layout.name}.lock"


@contextlib.contextmanager
def lock(layout: Layout) -> Iterator[None]:
    """Hold the sandbox for one up or down at a time; raise Refused when another command holds it.

    The lock lies beside the sandbox's folder, so that a purge can delete the folder while it is held.
    """
    layout.home.parent.mkdir(exist_ok=True)
    try:
        file = open(lock_file(layout), "w")  # noqa: SIM115  (closed by the with below)
    except PermissionError:
        raise _foreign(layout) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink == 0:
                raise BlockingIOError  # a purge removed the lock between our opening and our locking it
        except BlockingIOError:
            raise Refused(
                f"another command is starting or stopping the sandbox {layout.name!r}",
                next="wait for it, then try again",
            ) from None
        yield


def _foreign(layout: Layout) -> BadInput:
    return BadInput(
        f"the sandbox {layout.name!r} belongs to another user", next="work as that user, or choose another --name"
    )
