"""Point-in-time recovery on real servers: the accident drill, a receiver that is killed, gaps, damage, and moments nobody has."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import zstandard
from servers import DROP, NOBODY, free_port, postgres_binaries, superuser, within
from snapshots_servers import Servers

from rollout import seed
from rollout.environment import Database
from rollout.errors import BadInput, Failed, Refused
from rollout.recovery import archive, base, log, restoring
from rollout.recovery.archive import Receiver
from rollout.recovery.records import Base, Covered, ordinal, place
from rollout.recovery.spool import Spool

EVERY_SECONDS = 0.5


@dataclass
class Log:
    """What one writer was told: each number, and when its commit was acknowledged and asked for."""

    asked: list[tuple[int, datetime]] = field(default_factory=list)
    acknowledged: dict[int, datetime] = field(default_factory=dict)


@dataclass
class Place:
    """A live server with a base backup, a running receiver, and a writer that never stops."""

    servers: Servers
    live: Database
    base: Base
    receiver: Receiver
    thread: threading.Thread
    written: Log
    accident: datetime

    @property
    def prefix(self) -> str:
        return place(self.live.host, self.base.system_identifier)

    def wait_until_covered(self, moment: datetime) -> None:
        """Return once the archive has everything up to a moment."""
        end = time.monotonic() + 30
        while True:
            covered = archive.read_covered(self.servers.store, self.prefix)
            if covered and covered.until >= moment:
                return
            assert time.monotonic() < end, covered
            time.sleep(0.05)


def _receiver(servers: Servers, live: Database, folder: Path) -> tuple[Receiver, threading.Thread]:
    receiver = Receiver(live, servers.store, folder, slot="rollout_test", every_seconds=EVERY_SECONDS)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    return receiver, thread


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Write, take a base backup, write on, drop a table by accident, write on; all of it archived."""
    servers = Servers()
    live = servers.database("oltp").model_copy(update={"replication_user": "penguin_backup"})
    stop, written = threading.Event(), Log()

    def write() -> None:
        n = 0
        with psycopg.connect(live.conninfo(), autocommit=True) as connection:
            while not stop.is_set():
                n += 1
                written.asked.append((n, datetime.now(UTC)))
                connection.execute("INSERT INTO public.writes VALUES (%s)", (n,))
                written.acknowledged[n] = datetime.now(UTC)

    found: Place | None = None
    receiver = thread = writer = None
    try:
        seed.baseline(live)
        with psycopg.connect(live.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE public.writes (n bigint PRIMARY KEY)")
            connection.execute("CREATE TABLE public.precious AS SELECT generate_series(1, 1000) AS n")
        with superuser(live.port) as connection:
            connection.execute("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO penguin_rollout")
        receiver, thread = _receiver(servers, live, tmp_path_factory.mktemp("log") / "incoming")
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.3)
        taken = base.take(live, servers.store)
        time.sleep(1.0)
        accident = datetime.now(UTC)
        time.sleep(0.2)
        with psycopg.connect(live.conninfo(), autocommit=True) as connection:
            connection.execute("DROP TABLE public.precious")
        time.sleep(0.5)
        stop.set()
        writer.join()
        found = Place(servers, live, taken, receiver, thread, written, accident)
        found.wait_until_covered(datetime.now(UTC))
        yield found
    finally:
        stop.set()
        if writer:
            writer.join()
        if found:  # a test may have started another
            receiver, thread = found.receiver, found.thread
        if receiver and thread:
            receiver.stop.set()
            thread.join()
        servers.stop()


def _numbers(recovered: restoring.Recovered, dbname: str) -> set[int]:
    with recovered.server.connect(dbname) as connection:
        return {row[0] for row in connection.execute("SELECT n FROM public.writes")}


def test_the_accident_drill(drill: Place) -> None:
    """To the moment before the accident: every write acknowledged by then is there, none that was asked for later."""
    with restoring.recover(drill.servers.store, drill.live.host, drill.accident) as recovered:
        found = _numbers(recovered, drill.live.dbname)
        with recovered.server.connect(drill.live.dbname) as connection:
            assert connection.execute("SELECT count(*) FROM public.precious").fetchone() == (1000,)
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        folder = recovered.server.folder
    must = {n for n, at in drill.written.acknowledged.items() if at <= drill.accident}
    must_not = {n for n, at in drill.written.asked if at > drill.accident}
    assert must
    assert must_not
    assert must <= found
    assert not must_not & found
    assert recovered.server.process.poll() is not None
    assert not folder.exists()


def test_any_moment_and_the_end(drill: Place) -> None:
    """Right after the base backup, between, and as far as there is log: each holds exactly what was committed by then."""
    covered = archive.read_covered(drill.servers.store, drill.prefix)
    assert covered
    early = drill.base.finished_at + timedelta(milliseconds=50)
    with restoring.recover(drill.servers.store, drill.live.host, early) as recovered:
        found = _numbers(recovered, drill.live.dbname)
    assert {n for n, at in drill.written.acknowledged.items() if at <= early} <= found
    assert not {n for n, at in drill.written.asked if at > early} & found
    for target in (covered.until, None):
        with restoring.recover(drill.servers.store, drill.live.host, target) as recovered:
            assert _numbers(recovered, drill.live.dbname) == set(drill.written.acknowledged)


def test_moments_that_nobody_has_are_refused_up_front(drill: Place) -> None:
    """Before the first base backup, after the archive's end, without a time zone: said at once, with what there is."""
    store, host = drill.servers.store, drill.live.host
    with pytest.raises(BadInput, match="is archived until"):
        log.choose(store, host, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(BadInput, match="later than"):
        log.choose(store, host, drill.base.started_at - timedelta(seconds=1))
    with pytest.raises(BadInput, match="no time zone"):
        log.choose(store, host, datetime.now())  # noqa: DTZ005  (that is what is refused)
    with pytest.raises(BadInput, match="no base backup"):
        log.choose(store, "pg-oltp-2", drill.accident)


def test_a_receiver_that_was_killed_goes_on_without_a_gap(drill: Place, tmp_path: Path) -> None:
    """Stopped, the server writes on and switches segments, started again: the slot held all of it, nothing is stored twice."""
    drill.receiver.stop.set()
    drill.thread.join()
    with superuser(drill.live.port, drill.live.dbname) as connection:
        for _ in range(3):
            connection.execute("CREATE TABLE public.meanwhile AS SELECT generate_series(1, 10000) AS n")
            connection.execute("DROP TABLE public.meanwhile")
            connection.execute("SELECT pg_switch_wal()")
    held = archive.held_bytes(drill.live, "rollout_test")
    assert held is not None
    assert held[0] > 2 * drill.base.segment_bytes
    assert held[1]
    now = datetime.now(UTC)
    drill.receiver, drill.thread = _receiver(drill.servers, drill.live, drill.receiver.folder)
    drill.wait_until_covered(now)
    chosen, covered = log.choose(drill.servers.store, drill.live.host, None)
    files = [one.file for one in log.files(drill.servers.store, chosen, covered)]
    numbers = [ordinal(file, chosen.segment_bytes) for file in files]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(list(drill.servers.store.keys(f"{drill.prefix}log/"))) == len(set(drill.servers.store.keys(f"{drill.prefix}log/")))


def test_it_stops_far_behind_what_was_read_ahead(drill: Place) -> None:
    """To a moment many segments before the end: the file in which it stops is asked for again, long after it was taken."""
    chosen, covered = log.choose(drill.servers.store, drill.live.host, None)
    files = log.files(drill.servers.store, chosen, covered)
    assert len(files) > 6
    with tempfile.TemporaryDirectory() as folder, Spool(drill.servers.store, files, Path(folder) / "spool", None) as spool:
        shell = shlex.split(spool.command)[:2]
        for one in [*files, files[0], files[1], files[-1]]:
            got = Path(folder) / "got"
            done = subprocess.run([*shell, one.file, str(got)], check=False, timeout=30)
            assert done.returncode == 0, one.file
            assert hashlib.sha256(got.read_bytes()).hexdigest() == one.sha256
        assert subprocess.run([*shell, "00000002.history", str(got)], check=False, timeout=30).returncode == 1
        spool.check()


def test_a_gap_is_named(drill: Place) -> None:
    """A segment that is missing is named before anything is fetched."""
    chosen, covered = log.choose(drill.servers.store, drill.live.host, None)
    files = log.files(drill.servers.store, chosen, covered)
    lost = files[len(files) // 2]
    body = drill.servers.store.read(lost.key)[0]
    drill.servers.store.remove(lost.key)
    try:
        with pytest.raises(Refused, match=lost.file):
            log.files(drill.servers.store, chosen, covered)
    finally:
        drill.servers.store.create(lost.key, body)


@pytest.mark.parametrize("what", ["segment", "base"])
def test_a_flipped_byte_is_found_before_a_server_answers(drill: Place, what: str) -> None:
    """In a segment or in the base backup: the object is named, and no server is handed out."""
    store, chosen = drill.servers.store, drill.base
    covered = archive.read_covered(store, drill.prefix)
    assert covered
    key = log.files(store, chosen, covered)[0].key if what == "segment" else chosen.tar.key
    body = bytearray(store.read(key)[0])
    good = bytes(body)
    body[len(body) // 2] ^= 1
    put = store.client.put_object(Bucket=store.bucket, Key=store.prefix + key, Body=bytes(body))
    if what == "base":  # its record pins the version: let it be the damaged one
        edited = chosen.model_copy(update={"tar": chosen.tar.model_copy(update={"version_id": put["VersionId"]})})
        record = key.replace(".tar.zst", ".json")
        store.replace(record, edited.model_dump_json().encode(), store.read(record)[1])
    try:
        with pytest.raises(Failed, match=Path(key).name), restoring.recover(store, drill.live.host, drill.accident):
            pytest.fail("a server was handed out")
    finally:
        store.client.put_object(Bucket=store.bucket, Key=store.prefix + key, Body=good)
        if what == "base":
            store.replace(record, chosen.model_dump_json().encode(), store.read(record)[1])


def test_without_a_role_for_replication_it_says_so(drill: Place) -> None:
    """A server that does not let us (managed, say) has logical snapshots alone, and that is what is said."""
    with pytest.raises(Refused, match="no role for replication"):
        base.take(drill.live.model_copy(update={"replication_user": None}), drill.servers.store)


def test_covered_never_goes_back(drill: Place) -> None:
    """An older receiver that wakes up does not take away what a newer one has said."""
    store = drill.servers.store
    before = archive.read_covered(store, drill.prefix)
    assert before
    archive.write_covered(
        store, drill.prefix, Covered(until=before.until - timedelta(hours=1), lsn="0/1", file=before.file, slot="old")
    )
    after = archive.read_covered(store, drill.prefix)
    assert after
    assert after.until >= before.until


def test_bare_tools_recover_it(drill: Place) -> None:
    """As the runbook says for whoever has no program of ours: zstd, tar, cp as restore_command, and the server."""
    store, home = drill.servers.store, drill.servers
    folder = home.folder / "bare"
    (folder / "log").mkdir(parents=True)
    (folder / "data").mkdir(mode=0o700)
    unpack = zstandard.ZstdDecompressor
    tar = unpack().decompressobj().decompress(store.read(drill.base.tar.key)[0])
    subprocess.run([shutil.which("tar") or "tar", "--extract", "--directory", folder / "data"], input=tar, check=True, timeout=60)
    for key in store.keys(f"{drill.prefix}log/"):
        raw = unpack().decompressobj().decompress(store.read(key)[0])
        (folder / "log" / Path(key).name.split("-")[0]).write_bytes(raw)
    (folder / "data" / "recovery.signal").touch()
    if DROP:
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, NOBODY, NOBODY)
    port = free_port()
    options = {
        "restore_command": f"cp {folder / 'log'}/%f %p", "recovery_target_time": f"{drill.accident:%Y-%m-%d %H:%M:%S.%f}+00",
        "recovery_target_action": "promote", "hot_standby": "off", "shared_preload_libraries": "",
    }  # fmt: skip
    argv = [postgres_binaries() / "postgres", "-D", folder / "data", "-p", port, "-h", "127.0.0.1", "-k", ""]
    home.spawn([*argv, *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))], **DROP)
    within(60, lambda: superuser(port).close())
    with superuser(port, drill.live.dbname) as connection:
        assert connection.execute("SELECT count(*) FROM public.precious").fetchone() == (1000,)
        found = {row[0] for row in connection.execute("SELECT n FROM public.writes")}
    assert {n for n, at in drill.written.acknowledged.items() if at <= drill.accident} <= found
    assert not {n for n, at in drill.written.asked if at > drill.accident} & found
