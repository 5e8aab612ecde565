"""Snapshots on a bad day: whatever fails while one is taken, verified or restored, there is one clear line, and nothing is left.

Nothing that was not proven looks proven, and the next call of the same command ends well.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pyrage  # type: ignore[import-untyped]
import pytest
import servers
from proxy import Proxy, Rule
from servers import DROP, NOBODY, Home, superuser, within
from snapshots_servers import Servers

from rollout import objectstore, seed, transfer
from rollout.environment import Environment, Settings
from rollout.errors import Failed, Refused, RolloutError
from rollout.objectstore import ObjectStore
from rollout.restoring import bringing
from rollout.snapshots import (
    catalogue,
    clients,
    database,
    database_restore,
    dumping,
    label,
    manifest,
    proof,
    taking,
    verifying,
    workspace,
)
from rollout.snapshots.database_restore import restore_database
from rollout.snapshots.records import Manifest

MIB = 2**20
BIG_MIB = 12  # the one table whose dump goes to the store in several parts
ENDS_SECONDS = 60.0  # no fault may be waited for longer: a promise, not a measurement
CHILD = (
    "import sys, pickle; act, config, words = pickle.load(sys.stdin.buffer);"
    "from rollout import transfer; transfer.part_bytes = lambda n: 5 * 2**20;"
    "from rollout.snapshots import dumping; dumping.DIVIDED_ABOVE_BYTES = 2**20;"
    "from rollout.objectstore import ObjectStore; from rollout.restoring import bringing;"
    "from rollout.snapshots import taking, verifying;"
    "store = ObjectStore(config); print('go', flush=True);"
    "act == 'take' and taking.take(words[0], store, ['oltp'], lambda _: None, who='test', why='killed');"
    "act == 'verify' and verifying.verify(words[0], store, words[1], lambda _: None, by='test');"
    "act == 'bring' and bringing.bring(store, words[1], [words[2]], lambda _: None)"
)


class Place(Servers):
    """The servers, a proxy before the store, an environment of the live oltp database, and a snapshot of it."""

    def __init__(self) -> None:
        """Start what is needed, fill the database and take the snapshot."""
        Home.__init__(self)
        try:
            self.others = {p.pid for p in psutil.Process().children()}
            self.postgres = {"live": self._postgres("live")}
            self.store = ObjectStore(self._seaweedfs())
            self.live = self.database("oltp")
            seed.baseline(self.live)
            with psycopg.connect(self.live.conninfo(), autocommit=True) as connection:
                connection.execute("CREATE TABLE public.big (n int PRIMARY KEY, b bytea)")
                connection.execute(
                    "INSERT INTO public.big SELECT i, (SELECT string_agg(uuid_send(gen_random_uuid()), ''::bytea)"
                    " FROM generate_series(1, 256 + i * 0)) FROM generate_series(1, %s) AS i",
                    [BIG_MIB * 256],
                )
            self.direct = self.store
            self.proxy = Proxy(int(str(self.store.config.endpoint_url).rpartition(":")[2]))
            self.config = self.store.config.model_copy(update={"endpoint_url": f"http://127.0.0.1:{self.proxy.port}"})
            days = dict.fromkeys(("oltp", "content", "queue", "olap"), 1)
            settings = Settings.model_construct(snapshot_jobs=2, snapshot_retention_days=days, snapshot_recipient=None)
            self.env = Environment.model_construct(name="test", databases=[self.live], redis=[], settings=settings)
            self.manifest = self.take(self.direct)
        except BaseException:
            self.stop()
            raise

    def take(self, store: ObjectStore) -> Manifest:
        """Take a snapshot through a store."""
        return taking.take(self.env, store, ["oltp"], lambda _: None, who="test", why="a test")

    def verify(self, store: ObjectStore, what: Manifest | None = None) -> proof.Proof:
        """Verify the snapshot through a store."""
        return verifying.verify(self.env, store, what or self.manifest, lambda _: None, by="test")

    def bring(self, store: ObjectStore) -> bringing.Brought:
        """Bring the snapshot beside live through a store, and drop what came once it was found equal."""
        (where,) = bringing.places(self.env, self.direct, self.manifest, ["oltp"])
        (done,) = bringing.bring(store, self.manifest, [where], lambda _: None)
        assert done.comparison is not None
        assert done.comparison.equal
        with superuser(self.live.port) as connection:
            connection.execute(f'DROP DATABASE "{where.name}"'.encode())
        return done

    def restart(self, how: signal.Signals) -> None:
        """Stop the live Postgres as `how` has it stop, and start it again."""
        (process,) = (p for p in self.processes if str(self.folder / "live" / "pg") in p.args and p.poll() is None)  # type: ignore[operator]
        process.send_signal(how)
        process.wait(30)
        self.spawn(list(process.args), **DROP)  # type: ignore[call-overload]
        within(30, lambda: superuser(self.live.port).close())

    def uploads(self) -> int:
        """Return how many uploads the store holds unfinished."""
        return len(self.direct.client.list_multipart_uploads(Bucket=self.direct.bucket).get("Uploads", []))

    def databases(self) -> list[str]:
        """Return the names of the live server's databases."""
        with superuser(self.live.port) as connection:
            return sorted(str(row[0]) for row in connection.execute("SELECT datname FROM pg_database"))

    def ours(self) -> set[int]:
        """Return the servers of this file, and those that other tests keep in the same process of pytest."""
        return self.others | {process.pid for process in self.processes}

    def at_rest(self) -> None:
        """Assert that no program and no session of a snapshot goes on."""
        own = self.ours()
        running = [p for p in psutil.Process().children(recursive=True) if p.name() in ("pg_dump", "pg_restore", "postgres")]
        assert not [p for p in running if p.pid not in own and not own & {q.pid for q in p.parents()}]
        with superuser(self.live.port) as connection:
            found = connection.execute("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'rollout-%'")
            assert found.fetchall() == []

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Hold that a block ends in time, and leaves no snapshot, proof, database, program, session, folder or upload behind."""
        before = [catalogue.ids(self.direct), list(self.direct.keys(f"{self.manifest.prefix}/{proof.FOLDER}")), self.databases()]
        began = time.monotonic()
        yield
        assert time.monotonic() - began < ENDS_SECONDS
        self.proxy.reset()
        within(10, self.at_rest)
        after = [catalogue.ids(self.direct), list(self.direct.keys(f"{self.manifest.prefix}/{proof.FOLDER}")), self.databases()]
        assert after == before
        assert list(Path(tempfile.gettempdir()).glob(f"{workspace.PREFIX}*")) == []
        self.direct.sweep_uploads(manifest.ROOT, older_than_seconds=0)
        assert self.uploads() == 0


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Start all of it, with small parts and a folder for temporary files that nobody else uses."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="penguin-faults-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        patch.setattr(transfer, "part_bytes", lambda _: 5 * MIB)
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.1)
        # A server that is killed loses nothing for that as long as the machine runs.
        patch.setattr(servers, "SETTINGS", (*servers.SETTINGS, "fsync=off"))
        patch.setattr(dumping, "DIVIDED_ABOVE_BYTES", MIB)
        started = Place()
        try:
            yield started
        finally:
            started.proxy.close()
            started.stop()


@pytest.fixture
def patient(place: Place) -> ObjectStore:
    """The store behind the proxy, as a run reaches it."""
    place.proxy.reset()
    return ObjectStore(place.config)


@pytest.fixture
def hasty(place: Place, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same, given up sooner: the waits are shorter, not other ones."""
    place.proxy.reset()
    for name in ("CONNECT_TIMEOUT_SECONDS", "READ_TIMEOUT_SECONDS", "CONFLICT_DEADLINE_SECONDS"):
        monkeypatch.setattr(objectstore, name, 1)
    monkeypatch.setattr(objectstore, "ATTEMPTS", 2)
    return ObjectStore(place.config)


def _failed(error: type[RolloutError], match: str, act: Callable[[], object]) -> RolloutError:
    """Assert that an act ends with one clear line: what was seen, and what to do next."""
    with pytest.raises(error, match=match) as caught:
        act()
    assert caught.value.next
    assert len(str(caught.value).splitlines()) == 2
    return caught.value


# The store.


def test_passing_faults_of_the_store_are_got_over(place: Place, patient: ObjectStore) -> None:
    """A part that is cut, a storm of 503 that ends, an answer that breaks off, a slow line: all three acts end well."""
    proxy = place.proxy
    proxy.rules += [
        Rule("PUT", "partNumber=1", proxy.cut, after_bytes=MIB),
        Rule("PUT", "partNumber=2", proxy.unavailable, times=2),
        Rule("POST", "uploads", proxy.unavailable),
        Rule("PUT", manifest.NAME, proxy.unavailable, times=2),
    ]
    taken = place.take(patient)
    assert [rule.times for rule in proxy.rules] == [0, 0, 0, 0]
    proxy.rules[:] = [
        Rule("GET", manifest.NAME, proxy.unavailable),
        Rule("GET", "data-1.dump", proxy.cut, after_bytes=5 * MIB, times=2),
        Rule("GET", "dump", proxy.unavailable, times=2),
        Rule("PUT", proof.FOLDER, proxy.unavailable),
    ]
    assert place.verify(patient, taken).verdict == "pass"
    assert [rule.times for rule in proxy.rules] == [0, 0, 0, 0]
    proxy.rules[:] = [Rule("GET", "data-1.dump", proxy.cut, after_bytes=MIB, times=3)]
    proxy.bytes_per_second = 32 * MIB
    assert place.bring(patient).changed
    assert proxy.rules[0].times == 0
    assert catalogue.load(place.direct, taken.id) == taken
    assert place.uploads() == 0


@pytest.mark.parametrize("fault", ["refuse", "unavailable", "stall", "cut"])
def test_lasting_faults_of_the_store_end_a_take(place: Place, hasty: ObjectStore, fault: str) -> None:
    """From the second part on the store refuses, answers 503, says nothing, or cuts every request: there is no snapshot."""
    with place.unharmed():
        place.proxy.rules.append(Rule("PUT", "partNumber=2", getattr(place.proxy, fault), times=1000))
        _failed(Failed, "object store (refused|did not answer)", lambda: place.take(hasty))
        if fault == "refuse":
            place.proxy.accept()


def test_a_manifest_that_cannot_be_written_is_no_snapshot(place: Place, hasty: ObjectStore) -> None:
    """Everything is stored but the manifest: nothing is listed."""
    with place.unharmed():
        place.proxy.rules.append(Rule("PUT", manifest.NAME, place.proxy.unavailable, times=1000))
        assert _failed(Failed, "SlowDown", lambda: place.take(hasty)).verdict == "inconclusive"


@pytest.mark.parametrize("fault", ["refuse", "unavailable", "cut"])
def test_lasting_faults_of_the_store_are_no_verdict(place: Place, hasty: ObjectStore, fault: str) -> None:
    """The store fails in the middle of verify and restore: the snapshot is not judged, and what was half made is gone."""
    act = getattr(place.proxy, fault)
    for work in (place.verify, place.bring):
        with place.unharmed():
            after = MIB if fault == "cut" else None
            place.proxy.rules.append(Rule("GET", "data-1.dump", act, after_bytes=after, times=1000))
            error = _failed(Failed, "object store (refused|did not answer)", lambda work=work: work(hasty))  # type: ignore[misc]
            assert error.verdict == "inconclusive"
            if fault == "refuse":
                place.proxy.accept()


def test_lasting_faults_of_the_store_with_encryption(place: Place, hasty: ObjectStore) -> None:
    """Half an encrypted object does not decrypt, but that is not what went wrong; no thread goes on. Damage is found as ever."""
    key = pyrage.x25519.Identity.generate()
    (secret := place.folder / "identity").touch(0o600)
    secret.write_text(str(key))
    names = {"recipient": str(key.to_public()), "identity_file": str(secret)}
    direct = ObjectStore(place.direct.config.model_copy(update=names))
    sealed = ObjectStore(place.config.model_copy(update=names))
    taken = place.take(direct)
    (where,) = bringing.places(place.env, direct, taken, ["oltp"])
    with place.unharmed():
        place.proxy.rules.append(Rule("PUT", "partNumber=2", place.proxy.unavailable, times=1000))
        _failed(Failed, "SlowDown", lambda: place.take(sealed))
        place.proxy.rules[:] = [Rule("GET", "data-1.dump", place.proxy.cut, after_bytes=MIB, times=1000)]
        error = _failed(Failed, "object store did not answer", lambda: bringing.bring(sealed, taken, [where], lambda _: None))
        assert error.verdict == "inconclusive"
        assert not [one for one in threading.enumerate() if one.name in ("seal", "open")]
    part = next(p for p in taken.databases[0].parts if p.section == "data")
    body = bytearray(direct.client.get_object(Bucket=direct.bucket, Key=direct.prefix + part.key)["Body"].read())
    body[len(body) // 2] ^= 1
    version = direct.client.put_object(Bucket=direct.bucket, Key=direct.prefix + part.key, Body=bytes(body))["VersionId"]
    edited = taken.model_dump(mode="json")
    for one in edited["databases"][0]["parts"]:
        one["version_id"] = version if one["key"] == part.key else one["version_id"]
    made = place.verify(direct, Manifest.model_validate(edited))
    assert made.verdict == "fail"
    assert part.key in made.findings[0]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_skewed_clock_is_refused(place: Place, patient: ObjectStore, hours: int) -> None:
    """Names, locks and retention rest on the time: nothing is taken when runner and store do not agree on it."""
    with place.unharmed():
        stored = len(list(place.direct.keys(manifest.ROOT)))
        place.proxy.skew = timedelta(hours=hours)
        _failed(Refused, "3,?[56]\\d\\d s (ahead of|behind)", lambda: place.take(patient))
        assert len(list(place.direct.keys(manifest.ROOT))) == stored


def test_questions_that_the_store_does_not_answer_are_not_taken_for_no(place: Place, hasty: ObjectStore) -> None:
    """Whether it locks, and how often a manifest was written: a store that fails has said neither."""
    place.proxy.rules += [Rule("GET", "?object-lock", place.proxy.unavailable, times=1000)]
    _failed(Failed, "SlowDown", lambda: hasty.locks)
    place.proxy.rules[:] = [Rule("GET", "versions", place.proxy.unavailable, times=1000)]
    _failed(Failed, "SlowDown", lambda: catalogue.load(hasty, place.manifest.id))
    place.proxy.rules.clear()
    assert hasty.locks
    assert catalogue.load(hasty, place.manifest.id) == place.manifest


def test_a_bucket_without_versions_and_lock(place: Place) -> None:
    """It is proven all the same; what is written over is found by the SHA-256 in manifest and proof."""
    plain = ObjectStore(place.direct.config.model_copy(update={"bucket": "plain-bucket"}))
    plain.client.create_bucket(Bucket="plain-bucket")
    assert not plain.locks
    taken = place.take(plain)
    assert place.verify(plain, taken).verdict == "pass"
    part = next(p for p in taken.databases[0].parts if p.section == "schema")
    body = plain.read(part.key)[0]
    plain.client.put_object(Bucket=plain.bucket, Key=plain.prefix + part.key, Body=body[:-1])
    (where,) = bringing.places(place.env, plain, taken, ["oltp"])
    _failed(Failed, part.key, lambda: bringing.bring(plain, taken, [where], lambda _: None))
    assert where.name not in place.databases()
    edited = taken.model_copy(update={"why": "another reason"}).model_dump_json(indent=1).encode()
    plain.client.put_object(Bucket=plain.bucket, Key=plain.prefix + taken.key, Body=edited)
    (listed,) = catalogue.every(plain)
    assert listed.state == "unusable"
    assert "not the one that was proven" in listed.wrong


def test_a_manifest_that_was_written_twice_is_not_used(place: Place) -> None:
    """Rewritten, or removed and written again: it is listed as unusable, and no name finds it."""
    store = place.direct
    target = {"Bucket": store.bucket, "Key": store.prefix + place.manifest.key}
    for change in (lambda body: body, lambda body: json.dumps(json.loads(body) | {"who": "another"}).encode()):
        written = store.client.put_object(**target, Body=change(store.read(place.manifest.key)[0]))
        _failed(Failed, "was written 2 times", lambda: catalogue.find(store, place.manifest.id))
        assert [one.state for one in catalogue.every(store) if one.id == place.manifest.id] == ["unusable"]
        store.client.delete_object(**target, VersionId=written["VersionId"])
        assert catalogue.find(store, place.manifest.id) == place.manifest


# The servers.


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_postgres_is_restarted_in_the_middle(place: Place, patient: ObjectStore, how: signal.Signals) -> None:
    """Fast and immediate, during a dump and during a restore: one line, nothing half made, and the repeat ends well."""
    for rule, work in (
        (Rule("PUT", "partNumber=1", lambda: place.restart(how)), place.take),
        (Rule("GET", "data-1.dump", lambda: place.restart(how), after_bytes=MIB), place.bring),
    ):
        with place.unharmed():
            place.proxy.rules.append(rule)
            _failed(Failed, ".", lambda work=work: work(patient))  # type: ignore[misc]
            assert rule.times == 0
    assert place.bring(patient).changed


def test_a_throw_away_server_that_ends_is_no_verdict(
    place: Place, patient: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that verify restores into is killed: nothing is said of the snapshot."""
    monkeypatch.setattr(database_restore, "DROP_SECONDS", 1.0)  # it does not come back

    def kill() -> None:
        own = place.ours()
        me = psutil.Process()
        (scratch,) = (p for p in me.children() if p.name() == "postgres" and p.pid not in own)
        scratch.send_signal(signal.SIGQUIT)

    with place.unharmed():
        place.proxy.rules.append(Rule("GET", "data-1.dump", kill, after_bytes=MIB))
        assert _failed(Failed, "throw-away server .* ended", lambda: place.verify(patient)).verdict == "inconclusive"


def test_wrong_versions_are_refused_up_front(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client tools older than the server take nothing; a snapshot of a newer server than is installed gets no verdict."""
    taken = place.manifest.databases[0]
    newer = taken.model_copy(update={"origin": taken.origin.model_copy(update={"server_major": 99})})
    with place.unharmed():
        of_newer = place.manifest.model_copy(update={"databases": [newer]})
        _failed(Refused, "no Postgres server of version 99", lambda: place.verify(place.direct, of_newer))
        clients.find.cache_clear()
        monkeypatch.setattr(clients, "version", lambda _: "9.6")
        _failed(Refused, "pg_dump is 9.6", lambda: database.take_database(place.live, place.direct, manifest.new_prefix()))
    clients.find.cache_clear()


@contextmanager
def _small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0711", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(folder)], check=True)


if os.geteuid() == 0:  # only root may mount a small disk; a skipped test would count as a failure here

    @pytest.mark.deep
    def test_the_disk_is_full_at_a_restore(place: Place) -> None:
        """The database's own disk: what was half made is dropped, and with space again the same call ends well."""
        place.postgres["staging"] = place.postgres_server("staging")
        target = place.database("oltp", "staging").model_copy(update={"dbname": "on_a_small_disk"})
        taken = place.manifest.databases[0]
        with _small_disk(place.folder / "disk", 22) as disk, superuser(target.port) as connection:
            (space := disk / "space").mkdir()
            shutil.chown(space, NOBODY, NOBODY)
            connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'".encode())
            connection.execute("ALTER DATABASE template0 SET TABLESPACE small")
            try:
                restore = [taken, place.direct, target]
                error = _failed(Failed, "No space left on device", lambda: restore_database(*restore, beside=True))
                assert error.verdict == "inconclusive"
                row = connection.execute("SELECT count(*) FROM pg_database WHERE datname = %s", (target.dbname,)).fetchone()
                assert row == (0,)
            finally:
                connection.execute("ALTER DATABASE template0 SET TABLESPACE pg_default")
                connection.execute("DROP TABLESPACE small")
        restore_database(taken, place.direct, target, beside=True)

    @pytest.mark.deep
    def test_the_disk_of_the_runner_is_full_at_a_verify(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """It says nothing against the snapshot, and the folder is gone."""
        with place.unharmed(), _small_disk(place.folder / "tmp", 68) as disk:
            monkeypatch.setattr(tempfile, "tempdir", str(disk))
            monkeypatch.setattr(database_restore, "DROP_SECONDS", 1.0)
            assert _failed(Failed, ".", lambda: place.verify(place.direct)).verdict == "inconclusive"
            assert list(disk.glob(f"{workspace.PREFIX}*")) == []
            monkeypatch.undo()


# The runner.


def _killed(place: Place, act: str, words: list[Any], seconds: float) -> bool:
    """Run an act in a program of its own and kill -9 that after so long; return whether it had ended well by then."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        child.stdin.write(pickle.dumps((act, place.config, words)))
        child.stdin.close()
        assert child.stdout.readline() == b"go\n"
        inside = psutil.Process(child.pid)
        try:
            return child.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            below = inside.children(recursive=True)
            child.kill()
            child.wait()
            workspace.sweep()
            _, left = psutil.wait_procs(below, timeout=10)
            assert left == []
            return False


def test_the_runner_is_killed_at_any_time(place: Place) -> None:
    """Kill -9 at random instants of each act: what exists is whole, what does not leaves nothing, and the repeat ends well."""
    place.proxy.reset()
    place.proxy.bytes_per_second = 16 * MIB  # so that there is a middle
    (where,) = bringing.places(place.env, place.direct, place.manifest, ["oltp"])
    try:
        for act in ("take", "take", "bring", "bring", "verify"):
            known, proofs = catalogue.ids(place.direct), list(place.direct.keys(f"{place.manifest.prefix}/{proof.FOLDER}"))
            seconds = random.uniform(0.1, 2.0)
            ended = _killed(place, act, [place.env, place.manifest, where], seconds)
            said = f"{act} killed after {seconds:.3f} s"
            new = [name for name in catalogue.ids(place.direct) if name not in known]
            for name in new:
                found = catalogue.load(place.direct, name)
                assert all(place.direct.exists(one.key) for one in found.objects()), said
                assert catalogue.Listed(name, found, proof.newest(place.direct, found)).state == "unproven", said
            assert act != "take" or not ended or len(new) == 1, said
            added = len(list(place.direct.keys(f"{place.manifest.prefix}/{proof.FOLDER}"))) - len(proofs)
            assert added <= (act == "verify"), said
            with superuser(place.live.port) as connection:
                mark = label.read(connection, where.name)
                if mark and mark.compared:  # then it has to be equal; it makes room for the next
                    assert database.compare_database(where.taken, where.target).equal, said
                    connection.execute(f'DROP DATABASE "{where.name}"'.encode())
            within(10, place.at_rest)
            assert list(Path(tempfile.gettempdir()).glob(f"{workspace.PREFIX}*")) == [], said
            place.direct.sweep_uploads(manifest.ROOT, older_than_seconds=0)
            assert place.uploads() == 0, said
    finally:
        place.proxy.reset()
    bringing.bring(place.direct, place.manifest, [where], lambda _: None)
    with superuser(place.live.port) as connection:
        mark = label.read(connection, where.name)
        connection.execute(f'DROP DATABASE "{where.name}"'.encode())
    assert mark is not None
    assert mark.compared is not None
