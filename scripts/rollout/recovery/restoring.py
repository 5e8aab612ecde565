"""A server as it was at a moment: the base backup before it, and the log up to it, replayed by a throw-away Postgres."""

from __future__ import annotations

import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.recovery import log
from rollout.recovery.records import Base, Covered
from rollout.recovery.spool import Spool
from rollout.sandbox.account import Account
from rollout.snapshots import clients, scratch
from rollout.snapshots.records import Progress, quiet
from rollout.snapshots.scratch import Scratch
from rollout.snapshots.workspace import require_space, workspace

REPLAY_SECONDS = 6 * 3600.0
VERIFY_SECONDS = 3600
PAGE = "runbooks/restore.md#point-in-time"
HBA = "local all all trust\n"  # a socket in a folder that only its account and root can enter


@dataclass(frozen=True)
class Recovered:
    """A running server as of a moment, from which base backup, and how much log was replayed (bytes)."""

    server: Scratch
    base: Base
    covered: Covered
    replayed_bytes: int


@contextmanager
def recover(
    store: ObjectStore, host: str, target: datetime | None, progress: Progress = quiet, *, replay_seconds: float = REPLAY_SECONDS
) -> Iterator[Recovered]:
    """Run the server of `host` as it was at `target` (with a time zone; None: at the end of its log) until the block ends.

    Everything that was committed by then is there, nothing that was committed later. Raises BadInput for a moment that is
    not covered, Refused where the log has a gap or no Postgres of the same major version is installed here, Failed for an
    object that is not what was stored, and when recovery does not end in time.
    """
    chosen, covered = log.choose(store, host, target)
    files = log.files(store, chosen, covered)
    programs, major = scratch.choose(chosen.server_major)
    if major != chosen.server_major:
        raise Refused(
            f"Postgres {chosen.server_major} is not installed beside the runner, {major} is",
            limit="a physical backup needs its own major version",
            next=f"install the Postgres {chosen.server_major} server there; it need not run",
            page=PAGE,
        )
    with workspace("recovery") as folder:
        require_space(folder, chosen.database_bytes + 2**28)
        who, binaries = scratch.prepare(folder, programs)
        data = folder / "data"
        progress(f"fetch {chosen.tar.key}", 0, chosen.tar.size)
        _unpack(store, chosen, data, progress)
        _verify(data, chosen)
        (data / "recovery.signal").touch()
        (folder / "pg_hba.conf").write_text(HBA)
        (folder / "postgresql.conf").write_text("")
        _hand_over(who, [folder / "pg_hba.conf", folder / "postgresql.conf", *_below(data)])
        with Spool(store, files, folder / "spool", who) as spool:
            progress(f"replay the log of {host}", 0, None)
            try:
                running = scratch.running(
                    folder, binaries, data, who, major, _settings(folder, spool, target), start_seconds=replay_seconds,
                    superuser=chosen.superuser, socket=folder,
                )  # fmt: skip
                with running as server:
                    spool.check()
                    yield Recovered(server, chosen, covered, spool.fetched_bytes)
            except Failed:
                spool.check()  # what stopped the fetching is why the server stopped
                raise


def _settings(folder: Path, spool: Spool, target: datetime | None) -> dict[str, str]:
    """Return what the server runs with: nothing of what it ran with before counts, its archive least of all."""
    told = {
        "config_file": str(folder / "postgresql.conf"), "hba_file": str(folder / "pg_hba.conf"), "hot_standby": "off",
        "restore_command": spool.command, "recovery_target_action": "promote", "recovery_target_timeline": "latest",
        "shared_preload_libraries": "", "archive_command": "", "primary_conninfo": "", "ssl": "off",
    }  # fmt: skip
    if target is not None:
        told["recovery_target_time"] = f"{target.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
    return scratch.SETTINGS | told


def _unpack(store: ObjectStore, chosen: Base, data: Path, progress: Progress) -> None:
    """Fetch the base backup and unpack it as it comes; raise Failed when it is not what was stored."""
    data.mkdir(mode=0o700)
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def extract() -> None:
        try:
            with os.fdopen(reading, "rb") as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
                for member in tar:
                    tar.extract(member, data, filter="data")
        except BaseException as error:  # noqa: BLE001  told below
            failed.append(error)

    thread = threading.Thread(target=extract, name="unpack", daemon=True)
    thread.start()
    try:
        with os.fdopen(writing, "wb") as out:
            unpacked: Any = zstandard.ZstdDecompressor().stream_writer(out, closefd=False)
            counted = _Counted(unpacked, progress, chosen)
            store.download(chosen.tar.key, counted, chosen.tar.sha256, version_id=chosen.tar.version_id or None)  # type: ignore[arg-type]
    except (zstandard.ZstdError, BrokenPipeError):
        raise Failed(
            f"{chosen.tar.key} does not unpack: {failed[0] if failed else 'it is damaged'}",
            limit=f"SHA-256 {chosen.tar.sha256}, as recorded when it was stored",
            next="use an older base backup, and keep this one for the inquiry",
            page="runbooks/object-store.md",
        ) from None
    finally:
        thread.join()
    if failed:
        raise Failed(f"{chosen.tar.key} does not unpack: {failed[0]}", next="point TMPDIR at a larger disk", page=PAGE)


class _Counted:
    """Passes blocks on and tells how many bytes of the object have come."""

    def __init__(self, to: Any, progress: Progress, chosen: Base) -> None:
        self._to, self._progress, self._chosen, self._done = to, progress, chosen, 0

    def write(self, block: bytes) -> int:
        self._to.write(block)
        self._done += len(block)
        self._progress(f"fetch {self._chosen.tar.key}", self._done, self._chosen.tar.size)
        return len(block)


def _verify(data: Path, chosen: Base) -> None:
    """Let pg_verifybackup compare every file with pg_basebackup's own manifest."""
    program, _ = clients.find("pg_verifybackup", chosen.server_major)
    done = subprocess.run(
        [str(program), "--quiet", str(data)], capture_output=True, text=True, check=False,
        timeout=VERIFY_SECONDS, env=clients.environment(),
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise Failed(f"the base backup {chosen.id} of {chosen.host} is not whole: {said}", next="use an older one", page=PAGE)


def _hand_over(who: Account | None, paths: list[Path]) -> None:
    if who is not None:
        for path in paths:
            os.chown(path, who.uid, who.gid, follow_symlinks=False)


def _below(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.rglob("*")
