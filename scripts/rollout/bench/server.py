"""The bench's own Postgres: in a temporary folder, on loopback, with the same settings for every tool; gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import tenacity
from psycopg import sql
from psycopg.conninfo import make_conninfo

from rollout.bench import programs
from rollout.bench.programs import Programs
from rollout.children import die_with_parent
from rollout.errors import BadInput, Failed
from rollout.sandbox import account, ports

SUPERUSER, OWNER, CLIENT = "postgres", "bench_owner", "bench_client"
START_SECONDS = 60.0
SHARED_BUFFERS_SHARE = 8  # of the machine's memory
MAX_WAL_GIB = 8
# Durable, for two cores, and with room for WAL: neither checkpoints nor making new segments shall be what is measured.
SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica",
    "min_wal_size": "4GB", "max_wal_size": f"{MAX_WAL_GIB}GB", "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9", "work_mem": "32MB", "maintenance_work_mem": "256MB", "max_connections": "60",
    "autovacuum": "on", "log_min_messages": "fatal",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A running server. `folder` is the bench's: whatever is put there goes with it. `binaries`: where it runs its programs."""

    folder: Path
    port: int
    settings: dict[str, str]
    programs: Programs
    binaries: Path

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "server" / "data"

    @property
    def socket(self) -> Path:
        """The folder of its Unix socket, where it was given one; only its own account can enter."""
        return self.folder / "server"

    @property
    def passfile(self) -> Path:
        """The libpq passfile of all roles."""
        return self.folder / "pgpass"

    def conninfo(self, dbname: str, user: str) -> str:
        """Return a libpq connection string; the password stays in the passfile."""
        return make_conninfo(
            host="127.0.0.1", port=self.port, dbname=dbname, user=user, passfile=str(self.passfile), application_name=user
        )

    def connect(self, dbname: str, user: str = SUPERUSER) -> psycopg.Connection[Any]:
        """Return a connection in autocommit mode."""
        return psycopg.connect(self.conninfo(dbname, user), autocommit=True)

    def create(self, dbname: str, template: str = "template0") -> None:
        """Create a database of the owner's: empty, or a copy of another one's files."""
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(dbname), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )

    def drop(self, dbname: str) -> None:
        """Drop a database, sessions included."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dbname)))


@contextmanager
def running(
    chosen: Programs, below: Path | None, needed_bytes: int, settings: dict[str, str] | None = None, *, socket: bool = False
) -> Iterator[Server]:
    """Run a server in a folder of its own below `below` (None: the system's for temporary files); remove both at the end.

    `settings` add to SETTINGS; with `socket` it listens on a Unix socket as well. Raise BadInput when fewer than `needed_bytes`
    are free there, Failed when the server does not start.
    """
    place = below or Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise BadInput(
            f"{place} has {free / 2**30:.1f} GiB free", limit=f"{needed_bytes / 2**30:.1f} GiB for these sizes",
            next="name another folder with --directory, or fewer --rows",
        )  # fmt: skip
    folder, process = Path(tempfile.mkdtemp(prefix="rollout-bench-", dir=place)), None
    try:
        folder.chmod(0o711)
        server, argv, drop = _prepare(chosen, folder, SETTINGS | (settings or {}), socket=socket)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                preexec_fn=die_with_parent, **drop,  # noqa: PLW1509  (one system call)
            )  # fmt: skip
        _complete(server, process)
        yield server
    finally:
        if process is not None:
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(
    chosen: Programs, folder: Path, settings: dict[str, str], *, socket: bool
) -> tuple[Server, list[str], dict[str, Any]]:
    """Make the cluster; return the server to be, how to start it, and as whom."""
    who = account.choose()
    drop = {} if who is None else who.popen()
    binaries = programs.reachable(chosen, who, folder / "programs")
    buffers = min(1024, psutil.virtual_memory().total // 2**20 // SHARED_BUFFERS_SHARE)
    settings = {**settings, "shared_buffers": f"{buffers}MB"}
    server = Server(folder, ports.choose(["bench"])["bench"], settings, chosen, binaries)
    passwords = {user: secrets.token_urlsafe(24) for user in (SUPERUSER, OWNER, CLIENT)}
    server.passfile.touch(0o600)
    server.passfile.write_text("".join(f"127.0.0.1:*:*:{user}:{word}\n" for user, word in passwords.items()))
    home, password = folder / "server", folder / "server" / "password"
    home.mkdir(mode=0o700)
    password.touch(0o600)
    password.write_text(passwords[SUPERUSER])
    if who is not None:
        who.own(home)
        who.own(password)
    done = subprocess.run(
        [binaries / "initdb", "-D", home / "data", "-U", SUPERUSER, f"--pwfile={password}", "-A", "scram-sha-256",
         "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--data-checksums"],
        capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.defpath, "LC_ALL": "C"}, **drop,
    )  # fmt: skip
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Failed(f"initdb: {reason}", next="correct that, or name another --directory")
    options = [word for name, value in server.settings.items() for word in ("-c", f"{name}={value}")]
    argv = [str(binaries / "postgres"), "-D", str(home / "data"), "-p", str(server.port), "-h", "127.0.0.1"]
    argv += ["-k", str(server.socket) if socket else ""]
    return server, argv + options, drop


def _complete(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers, then make the roles: an owner who is no superuser, and the clients."""
    waiting = tenacity.Retrying(
        stop=lambda state: process.poll() is not None or (state.seconds_since_start or 0) > START_SECONDS,
        wait=tenacity.wait_fixed(0.05), retry=tenacity.retry_if_exception_type(psycopg.OperationalError), reraise=True,
    )  # fmt: skip
    try:
        connection = waiting(server.connect, "postgres")
    except psycopg.OperationalError as error:
        said = ((server.folder / "log").read_text().strip() or str(error)).splitlines()[-1]
        raise Failed(f"the server did not start: {said}", next="correct that, or name another --bin") from None
    words = dict(line.split(":")[3:5] for line in server.passfile.read_text().splitlines())
    with connection:
        for role, attributes in ((OWNER, "LOGIN IN ROLE pg_monitor"), (CLIENT, "LOGIN")):
            connection.execute(sql.SQL("CREATE ROLE {} {} PASSWORD {}").format(
                sql.Identifier(role), sql.SQL(attributes), sql.Literal(words[role])
            ))  # fmt: skip
        # As the README asks for: an autovacuum of millions of rows gives way, instead of being waited for.
        connection.execute(sql.SQL("GRANT SET ON PARAMETER deadlock_timeout TO {}").format(sql.Identifier(OWNER)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server at once: what it holds is thrown away."""
    for number, seconds in ((signal.SIGQUIT, 20.0), (signal.SIGKILL, 20.0)):
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
