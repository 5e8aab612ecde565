"""pgBackRest: the server's files and log to the store, a new server out of them, and its verification of what is stored."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import tenacity

from rollout.bench import programs, watch
from rollout.bench.server import SUPERUSER, Server
from rollout.bench.snapshots.case import JOBS, SOURCE, Case, Did, database
from rollout.bench.store import BUCKET, REGION, Store
from rollout.errors import Failed
from rollout.sandbox import account
from rollout.snapshots import scratch

STANZA = "bench"
COMPRESSION = {"compress-type": "zst", "compress-level": "1"}  # as ours; its defaults are gzip and one process
GUARANTEE = (
    "checksums of every file, made when it was copied, and, where the server has them, those of every page; verify reads every"
    " file of the store again, and restores nothing"
)
VERIFIED = "status: ok"  # its exit status does not say it
RECOVERY_SECONDS = 600.0
MAJOR = 15  # the newest server that Debian's pgBackRest knows


def archiving(server: Server, command: str) -> None:
    """Let the server give finished segments of its log to a command."""
    with server.connect("postgres") as connection:
        quoted = command.replace("'", "''")
        connection.execute(f"ALTER SYSTEM SET archive_command = '{quoted}'".encode())
        connection.execute("SELECT pg_reload_conf()")


def measure(case: Case, program: Path, idle_command: str) -> Did:
    """Back up, restore into a server of its own, which is started and replays the log to its end, and verify."""
    server, who = case.server, account.choose()
    home = case.folder / "pgbackrest"
    for folder in (home, home / "lock", home / "spool", home / "data"):
        folder.mkdir(mode=0o700)
        if who is not None:
            who.own(folder)
    if who is not None:
        case.folder.chmod(0o711)
    passfile, configuration = home / "pgpass", home / "pgbackrest.conf"
    words = server.passfile.read_text().replace("127.0.0.1:*:", "*:*:")  # a socket has no address
    for path, text in ((passfile, words), (configuration, configured(case.store, server, case.prefix, home))):
        path.touch(0o600)
        path.write_text(text)
        if who is not None:
            who.own(path)
    told = [str(program), f"--config={configuration}", f"--stanza={STANZA}"]
    env = {"PATH": os.defpath, "HOME": str(home), "PGPASSFILE": str(passfile), "LC_ALL": "C"}
    drop = {} if who is None else who.popen()
    run = partial(watch.run, env=env, deadline_seconds=case.deadline_seconds, who=drop, also={"pgbackrest"})
    run([*told, "stanza-create"])
    archiving(server, f"{' '.join(told)} archive-push %p")
    try:
        run([*told, "check"])
        case.calm()
        taken = run([*told, "--type=full", "backup"])
    finally:
        archiving(server, idle_command)
    case.calm()
    restored = run([*told, f"--pg1-path={home / 'data'}", "restore"])
    began = monotonic()
    with ExitStack() as running:
        shutil.copy(server.passfile, case.folder / "pgpass")
        settings = {**server.settings, "archive_mode": "off"}
        started = running.enter_context(
            scratch.running(case.folder, server.binaries, home / "data", who, MAJOR, settings, start_seconds=RECOVERY_SECONDS)
        )
        _await_promotion(started)
        restored = restored.then(watch.Act(monotonic() - began, 0.0, 0))
        case.restored(database(server, SOURCE, started.port, started.passfile))
    case.calm()
    return Did(
        taken, restored, run([*told, "--output=text", "--verbose", "verify"], says=VERIFIED), proven=None, guarantee=GUARANTEE,
        options={"process-max": JOBS, "start-fast": "y", **COMPRESSION},
        versions={"pgbackrest": programs.version(program, "version")},
    )  # fmt: skip


def configured(store: Store, server: Server, prefix: str, home: Path) -> str:
    """Return its configuration, which holds the key to the store: nobody else is to read it."""
    options = {
        "repo1-type": "s3", "repo1-path": f"/{prefix}", "repo1-s3-bucket": BUCKET, "repo1-s3-endpoint": "localhost",
        "repo1-storage-port": store.port, "repo1-s3-region": REGION, "repo1-s3-uri-style": "path",
        "repo1-storage-ca-file": store.authority, "repo1-s3-key": store.access, "repo1-s3-key-secret": store.secret,
        "repo1-retention-full": 2, **COMPRESSION, "process-max": JOBS, "start-fast": "y", "log-level-file": "off",
        "log-level-console": "warn", "lock-path": home / "lock", "spool-path": home / "spool",
    }  # fmt: skip
    stanza = {"pg1-path": server.data, "pg1-port": server.port, "pg1-socket-path": server.socket, "pg1-user": SUPERUSER}
    lines = ["[global]", *(f"{k}={v}" for k, v in options.items()), f"[{STANZA}]", *(f"{k}={v}" for k, v in stanza.items())]
    return "\n".join(lines) + "\n"


def _await_promotion(started: scratch.Scratch) -> None:
    """Wait until the log is replayed and the server may be written to."""
    waiting = tenacity.Retrying(
        stop=tenacity.stop_after_delay(RECOVERY_SECONDS), wait=tenacity.wait_fixed(0.05),
        retry=tenacity.retry_if_result(bool), retry_error_callback=lambda _: True,
    )  # fmt: skip
    with started.connect() as connection:
        if waiting(lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)):
            raise Failed("the restored server did not end its recovery", limit=f"{RECOVERY_SECONDS:.0f} s", next="read its log")
