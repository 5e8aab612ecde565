"""Private folders for dumps and helper servers, which the next call removes when their owner was killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from rollout.errors import Failed

PREFIX = "penguin-rollout-"
OWNER = "owner.json"
MORE_DISK = "free some disk, or point TMPDIR at a larger one, then run the same command"


@contextmanager
def workspace(purpose: str) -> Iterator[Path]:
    """Yield a folder of mode 0700 that is gone afterwards; first remove those whose owner died.

    Processes started with this folder as their working directory are ended with it. Raise Failed when the disk is full.
    """
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
    try:
        me = psutil.Process()
        (folder / OWNER).write_text(json.dumps({"pid": me.pid, "created": me.create_time()}))
        yield folder
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failed(f"the disk below {folder.parent} is full", next=MORE_DISK, verdict="inconclusive") from None
    finally:
        _remove(folder)


def sweep() -> list[Path]:
    """Remove the folders, and end the processes within them, whose owner no longer runs; return what was removed."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or not _ours(folder) or _owned(folder):
                continue
        except OSError:
            continue  # its owner removed it in this moment
        _remove(folder)
        removed.append(folder)
    return removed


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise Failed when the disk below `folder` has less than `needed_bytes` and a tenth more."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes * 1.1:
        raise Failed(
            f"{free / 2**20:,.0f} MiB are free below {folder.parent}",
            limit=f"{needed_bytes * 1.1 / 2**20:,.0f} MiB for the dump",
            next=MORE_DISK,
            verdict="inconclusive",
        )


def _ours(folder: Path) -> bool:
    status = folder.stat()
    return os.getuid() in (0, status.st_uid)


def _owned(folder: Path) -> bool:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return bool(psutil.Process(owner["pid"]).create_time() == owner["created"])
    except psutil.NoSuchProcess:
        return False
    except (FileNotFoundError, ValueError):
        # Killed, or still between mkdtemp and the note: a minute tells them apart.
        return (time.time() - folder.stat().st_mtime) < 60


def _remove(folder: Path) -> None:
    inhabitants = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and Path(process.cwd()) == folder:
                inhabitants.append(process)
        except (psutil.Error, OSError):
            continue
    for process in inhabitants:
        process.kill()
    psutil.wait_procs(inhabitants, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)
