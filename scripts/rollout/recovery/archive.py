"""The log of a server, received by pg_receivewal and kept in the store, a segment an object, with how far it goes.

One receiver a server, for as long as it lives (`invoke snapshot.receive`; a systemd unit lies in playbooks/files/recovery/). The
replication slot holds the log for it while it is away, so that a kill loses nothing; how much it holds is watched, since that is
the database's disk. Every interval a message is committed and the segment ended, so that an idle server's log goes on too.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import zstandard

from rollout import sealed
from rollout.children import die_with_parent
from rollout.environment import Database
from rollout.errors import Failed
from rollout.objectstore import AlreadyExists, Conflict, NotFound, ObjectStore
from rollout.recovery import server
from rollout.recovery.records import Covered, log_file, place
from rollout.snapshots import clients
from rollout.snapshots.server import administering

COMPLETE = re.compile(r"^([0-9A-F]{24}|[0-9A-F]{8}\.history)$")
LEVEL = 3
POLL_SECONDS = 0.1
RESTART_SECONDS = 2.0
CATCH_UP_SECONDS = 30.0
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 300.0
MARK = "SELECT clock_timestamp() FROM pg_logical_emit_message(true, 'rollout', 'archived until here')"
WHERE = "SELECT pg_current_wal_insert_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())"


@dataclass(frozen=True)
class Mark:
    """A commit whose moment and place are known: once its segment is stored, so is all that was committed before it."""

    at: datetime
    lsn: str
    file: str


def interval_seconds(promised: float) -> float:
    """Return how often a segment is ended, for a promise of at most that many seconds lost: a third of it, within bounds."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, promised / 3))


def slot_name(environment: str, host: str) -> str:
    """Return the replication slot of a host's receiver: lower case, within Postgres' 63 bytes."""
    return re.sub(r"[^a-z0-9_]", "_", f"rollout_{environment}_{host}".lower())[:63]


class Receiver:
    """Receives one server's log into a folder and moves what is complete to the store; `run` returns when `stop` is set."""

    def __init__(
        self, database: Database, store: ObjectStore, folder: Path, *, slot: str, every_seconds: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """`folder` is the receiver's alone and outlives it; `every_seconds`: between two marks."""
        self.database, self.store, self.folder, self.slot, self.every_seconds, self.say = (
            database, store, folder, slot, every_seconds, say,
        )  # fmt: skip
        self.stop = threading.Event()
        self._marks: list[Mark] = []
        self._marked = 0.0

    def run(self) -> None:
        """Receive until `stop` is set. What fails is said and tried again: the slot holds the log meanwhile.

        Raises Refused when the inventory names no role for replication, Failed when the slot cannot be made.
        """
        said = server.ask(self.database)
        self.prefix = place(self.database.host, said.system_identifier)
        program, _ = clients.find("pg_receivewal", said.major)
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = [
            str(program), f"--dbname={server.replication(self.database)}", f"--directory={self.folder}",
            f"--slot={self.slot}", "--no-password", "--no-loop",
        ]  # fmt: skip
        clients.run([*argv, "--create-slot", "--if-not-exists"], self.folder, 60)
        known = {found.file for key in self.store.keys(f"{self.prefix}log/") if (found := log_file(key))}
        process: subprocess.Popen[bytes] | None = None
        started = 0.0
        try:
            while not self.stop.is_set():
                if process is None or process.poll() is not None:
                    if process is not None:
                        self.say(f"pg_receivewal ended with {process.returncode}; it starts again")
                        self.stop.wait(max(0.0, RESTART_SECONDS - (time.monotonic() - started)))
                    process, started = self._start(argv), time.monotonic()
                try:
                    self._mark()
                    self._move(known)
                    self._cover(known)
                except (psycopg.Error, Failed) as error:
                    self.say(f"not archived for now: {getattr(error, 'observed', None) or str(error).strip()}")
                    self.stop.wait(RESTART_SECONDS)
                self.stop.wait(POLL_SECONDS)
        finally:
            if process is not None and process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()

    def _start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clients.environment(),
                preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
            )  # fmt: skip

    def _mark(self) -> None:
        """Put a mark into the log, once an interval."""
        if self._marked and time.monotonic() - self._marked < self.every_seconds:
            return
        self._marks.append(mark(self.database))
        self._marked = time.monotonic()

    def _move(self, known: set[str]) -> None:
        """Store every complete file and remove it here, the oldest first."""
        for path in sorted(path for path in self.folder.iterdir() if COMPLETE.match(path.name)):
            raw = path.read_bytes()
            recipient = self.store.config.recipient
            key = sealed.key_of(f"{self.prefix}log/{path.name}-{hashlib.sha256(raw).hexdigest()}.zst", recipient)
            with suppress(AlreadyExists):  # stored, and killed before it was removed here
                packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(raw)
                self.store.create(key, sealed.seal_bytes(packed, recipient))
            known.add(path.name)
            path.unlink()

    def _cover(self, known: set[str]) -> None:
        """Say in the store until which moment it has everything, when that has become later."""
        done = [m for m in self._marks if m.file in known]
        if not done:
            return
        last = max(done, key=lambda mark: mark.at)
        write_covered(self.store, self.prefix, Covered(until=last.at, lsn=last.lsn, file=last.file, slot=self.slot))
        self._marks = [m for m in self._marks if m.at > last.at]


def mark(database: Database) -> Mark:
    """Commit a message whose moment is known and, where the server lets us, end the segment that holds it.

    In the maintenance database: the right to end a segment is given there, where no dump takes it along.
    """
    with administering(database) as connection:
        at = connection.execute(MARK).fetchone()
        where = connection.execute(WHERE).fetchone()  # after its commit, which is at least as late as what was read
        assert at is not None
        assert where is not None
        with suppress(psycopg.errors.InsufficientPrivilege):  # then archive_timeout, or its own writes, end it
            connection.execute("SELECT pg_switch_wal()")
    return Mark(at[0], str(where[0]), str(where[1]))


def catch_up(database: Database, store: ObjectStore, slot: str, *, seconds: float = CATCH_UP_SECONDS) -> Covered | None:
    """End the running segment and wait until the receiver has stored it; return how far the log goes then.

    None when it is not there in time (no receiver at work), or the server does not answer: then the log goes as far as it goes.
    """
    try:
        prefix, made = place(database.host, server.ask(database).system_identifier), mark(database)
    except (Failed, psycopg.Error):
        return None
    end = time.monotonic() + seconds
    while not any(store.keys(f"{prefix}log/{made.file}-")):
        if time.monotonic() > end:
            return None
        time.sleep(POLL_SECONDS)
    covered = Covered(until=made.at, lsn=made.lsn, file=made.file, slot=slot)
    write_covered(store, prefix, covered)
    return covered


def write_covered(store: ObjectStore, prefix: str, covered: Covered) -> None:
    """Write how far the log goes; never back behind what is there."""
    key = f"{prefix}covered.json"
    body = covered.model_dump_json(indent=1).encode()
    with suppress(AlreadyExists, Conflict):  # another receiver was first: the next mark is ours, or its
        try:
            before, etag = store.read(key)
        except NotFound:
            store.create(key, body)
            return
        if Covered.model_validate_json(before).until < covered.until:
            store.replace(key, body, etag)


def read_covered(store: ObjectStore, prefix: str) -> Covered | None:
    """Return how far the log of a server goes; None when nothing was archived."""
    try:
        return Covered.model_validate_json(store.read(f"{prefix}covered.json")[0])
    except NotFound:
        return None


def held_bytes(database: Database, slot: str) -> tuple[int, bool] | None:
    """Return the bytes of log that a slot makes the server keep, and whether the slot is still good; None without a slot."""
    with server.connect(database) as connection:
        row = connection.execute(server.statement("slot"), (slot,)).fetchone()
    return None if row is None else (int(row[3] or 0), row[2] not in ("lost", "unreserved"))


