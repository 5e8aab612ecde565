"""What most do: pg_dump in the directory format to the disk, the AWS CLI from there to the store, and all that the other way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from rollout.bench import programs, watch
from rollout.bench.server import SUPERUSER
from rollout.bench.snapshots.case import JOBS, RESTORED, SOURCE, Case, Did
from rollout.bench.store import BUCKET

AWSCLI = "awscli==1.46.3"
INSTALL_SECONDS = 300
GUARANTEE = "none: whether it restores is not known before it is restored, and nothing says what it should hold"


def install(folder: Path) -> tuple[Path | None, str]:
    """Put the AWS CLI into an environment of its own in `folder`; return the program, or None and why it could not be had."""
    python = folder / "awscli" / "bin" / "python"
    for argv in (
        [sys.executable, "-m", "venv", str(folder / "awscli")],
        [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", AWSCLI],
    ):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS, cwd="/")
        except subprocess.TimeoutExpired:
            return None, f"{AWSCLI} was not to be had from PyPI within {INSTALL_SECONDS} s"
        if done.returncode != 0:
            said = [line for line in done.stderr.strip().splitlines() if "ERROR" in line or "rror:" in line]
            return None, f"{AWSCLI} could not be installed: {(said or ['no reason given'])[-1][:200]}"
    return python.with_name("aws"), ""


def measure(case: Case, aws: Path, level: int | None) -> Did:
    """Dump and upload, download and restore beside the source. `level`: of gzip, None for pg_dump's own choice (6)."""
    there, back = case.folder / "there", case.folder / "back"
    postgres = {"PATH": os.defpath, "PGPASSFILE": str(case.server.passfile), "LC_ALL": "C"}
    where = ["--host=127.0.0.1", f"--port={case.server.port}", f"--username={SUPERUSER}", "--no-password"]
    url = f"s3://{BUCKET}/{case.prefix}"
    ours = partial(watch.run, env=postgres, deadline_seconds=case.deadline_seconds)
    theirs = partial(watch.run, env={"PATH": os.defpath, **case.store.environment()}, deadline_seconds=case.deadline_seconds)
    copy = [str(aws), f"--endpoint-url={case.store.url}", "s3", "cp", "--recursive", "--only-show-errors"]
    dump, restore = (case.server.binaries / name for name in ("pg_dump", "pg_restore"))
    compress = [] if level is None else [f"--compress={level}"]

    case.calm()
    taken = ours([str(dump), *where, "--format=directory", f"--jobs={JOBS}", *compress, f"--file={there}", SOURCE])
    taken = taken.then(theirs([*copy, str(there), url]))
    shutil.rmtree(there)
    case.calm()
    got = theirs([*copy, url, str(back)])
    case.server.create(RESTORED)
    restored = got.then(ours([str(restore), *where, "--exit-on-error", f"--jobs={JOBS}", f"--dbname={RESTORED}", str(back)]))
    case.restored(case.target)
    case.server.drop(RESTORED)
    return Did(
        taken, restored, None, proven=None, guarantee=GUARANTEE,
        options={"jobs": JOBS, "compress": "gzip:6 (default)" if level is None else f"gzip:{level}"},
        versions={"pg_dump": programs.version(dump), "aws": programs.version(aws)},
    )  # fmt: skip
