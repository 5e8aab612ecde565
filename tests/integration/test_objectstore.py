"""The object store, runs and journal on a real S3 server: races, kills, lost answers, damage."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rollout import environment, journal, runs
from rollout.errors import BadInput, Failed, Fenced, Refused
from rollout.objectstore import AlreadyExists, Conflict, NotFound, ObjectStore

MIB = 1024 * 1024
THREADS = 8
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def _free_ports(count: int) -> list[int]:
    # All held at once, so that they differ.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def config() -> Iterator[environment.ObjectStore]:
    """A SeaweedFS of its own, with generated keys and a bucket with versioning and object lock."""
    folder = Path(tempfile.mkdtemp(prefix="objectstore-"))
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    identity = {
        "name": "runner",
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    (folder / "credentials").chmod(0o600)
    (folder / "data").mkdir()
    names = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    ]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    argv = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        "-s3",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        f"-s3.config={folder / 's3.json'}",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with open(folder / "weed.log", "wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder)
    found = environment.ObjectStore(
        endpoint_url=f"http://127.0.0.1:{ports['s3.port']}",
        region="us-east-1",
        bucket="rollout-test",
        prefix="test",
        credentials_file=str(folder / "credentials"),
    )
    try:
        _wait_for_bucket(ObjectStore(found), server, folder / "weed.log")
        yield found
    finally:
        server.kill()  # it takes 20 s to end by itself, and its data goes with it
        server.wait(10)
        shutil.rmtree(folder)


def _wait_for_bucket(store: ObjectStore, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            store.client.create_bucket(Bucket=store.bucket, ObjectLockEnabledForBucket=True)
            store.client.put_object(Bucket=store.bucket, Key="ready", Body=b"")
            return
        except Exception as error:  # noqa: BLE001  (every client error means: not yet)
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"SeaweedFS did not start: {error}\n{log.read_text()[-2000:]}")
            if "BucketAlready" in str(error):
                time.sleep(0.2)
            time.sleep(0.2)


@pytest.fixture
def store(config: environment.ObjectStore) -> ObjectStore:
    """The same server, under a prefix that no other test uses."""
    return ObjectStore(config.model_copy(update={"prefix": f"t-{secrets.token_hex(4)}"}))


def test_create_has_one_winner_of_eight(store: ObjectStore) -> None:
    """Of eight threads that create one key at the same moment, exactly one wins, and its bytes are there."""
    barrier = threading.Barrier(THREADS)

    def race(key: str, racer: int) -> int | None:
        barrier.wait(30)
        try:
            store.create(key, b"%d" % racer)
        except AlreadyExists:
            return None
        return racer

    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(5):
            key = f"race/{number}"
            winners = [w for w in pool.map(lambda racer, key=key: race(key, racer), range(THREADS)) if w is not None]
            assert [int(store.read(key)[0])] == winners


def test_replace_loses_no_increment(store: ObjectStore) -> None:
    """Eight threads that count up under compare-and-swap lose no step."""
    store.create("counter", b"0")

    def count() -> None:
        for _ in range(10):
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                body, etag = store.read("counter")
                try:
                    store.replace("counter", b"%d" % (int(body) + 1), etag)
                    break
                except Conflict:
                    continue

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(count) for _ in range(THREADS)]:
            done.result()
    assert store.read("counter")[0] == b"80"


def test_missing_and_stale_are_told_apart(store: ObjectStore) -> None:
    """A key without an object is NotFound to read and a Conflict to replace."""
    with pytest.raises(NotFound):
        store.read("nothing")
    with pytest.raises(Conflict):
        store.replace("nothing", b"x", '"d41d8cd98f00b204e9800998ecf8427e"')
    old = store.create("thing", b"1")
    store.replace("thing", b"2", old)
    with pytest.raises(Conflict):
        store.replace("thing", b"3", old)
    assert store.read("thing")[0] == b"2"


def test_keys_are_listed_across_pages(store: ObjectStore) -> None:
    """A listing does not end with the first page of 1,000."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(
            pool.map(
                lambda n: store.client.put_object(Bucket=store.bucket, Key=f"{store.prefix}many/{n:05d}"), range(1_050)
            )
        )
    assert list(store.keys("many/")) == [f"many/{n:05d}" for n in range(1_050)]


def test_a_missing_bucket_is_no_missing_key(config: environment.ObjectStore) -> None:
    """With the bucket gone, nothing may look like an environment that never had a run."""
    store = ObjectStore(config.model_copy(update={"bucket": "rollout-nowhere"}))
    with pytest.raises(Failed, match="NoSuchBucket") as caught:
        runs.current(store)
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize("size", [0, 5, 16 * MIB, 40 * MIB + 3])
def test_upload_and_download_agree(store: ObjectStore, tmp_path: Path, size: int) -> None:
    """What is stored, in one part or several, comes back with the same SHA-256, however little a read returns."""
    data = os.urandom(size)

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 70_001))

    stored = store.upload("blob", Trickle(data))
    assert (stored.key, stored.size, stored.sha256) == ("blob", size, hashlib.sha256(data).hexdigest())
    assert stored.version_id
    assert store.download("blob", tmp_path / "blob", stored.sha256, version_id=stored.version_id) == size
    assert (tmp_path / "blob").read_bytes() == data


def test_download_refuses_other_bytes(store: ObjectStore, tmp_path: Path) -> None:
    """An object whose SHA-256 is another leaves no file behind."""
    store.upload("blob", io.BytesIO(b"as it is"))
    with pytest.raises(Failed, match="SHA-256"):
        store.download("blob", tmp_path / "blob", hashlib.sha256(b"as it was").hexdigest())
    assert list(tmp_path.iterdir()) == []


def test_a_broken_upload_leaves_nothing(store: ObjectStore) -> None:
    """A source that fails in its third part makes the upload fail and its parts go."""

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 33 * MIB:
                raise OSError("the source broke")
            return super().read(size)

    with pytest.raises(OSError, match="the source broke"):
        store.upload("blob", Breaks(bytes(40 * MIB)))
    assert not store.exists("blob")
    assert not store.client.list_multipart_uploads(Bucket=store.bucket, Prefix=store.prefix).get("Uploads")


def test_sweep_aborts_only_what_never_ended(store: ObjectStore) -> None:
    """Left-over parts go; an id whose key has an object is not touched."""
    for key in ("never", "ended"):
        store.client.create_multipart_upload(Bucket=store.bucket, Key=store.prefix + key)
    store.create("ended", b"whole")
    assert store.sweep_uploads("", older_than_seconds=3_600) == 0
    assert store.sweep_uploads("", older_than_seconds=-5) == 1
    left = store.client.list_multipart_uploads(Bucket=store.bucket, Prefix=store.prefix)["Uploads"]
    assert [entry["Key"] for entry in left] == [store.prefix + "ended"]


def test_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    """A store that keeps its promises gets no finding but pass, and has no version of the probe's key afterwards."""
    findings = store.probe()
    assert {f.name: f.verdict for f in findings if f.verdict != "pass"} == {}
    assert len(findings) == 7
    left = store.client.list_object_versions(Bucket=store.bucket, Prefix=store.prefix)
    assert not left.get("Versions") and not left.get("DeleteMarkers")


def test_probe_finds_a_plain_bucket(config: environment.ObjectStore) -> None:
    """A bucket without versioning and object lock does not pass."""
    store = ObjectStore(config.model_copy(update={"bucket": "rollout-plain"}))
    store.client.create_bucket(Bucket=store.bucket)
    verdicts = {f.name: f.verdict for f in store.probe()}
    assert verdicts["versioning"] == "fail"
    assert verdicts["object lock"] == "fail"


def test_credentials_of_the_shell_are_not_used(
    config: environment.ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AWS_ variables of the operator's shell change nothing, and a file that others can read is refused."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "wrong")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = ObjectStore(config)
    assert store.now()
    copied = tmp_path / "credentials"
    shutil.copy(config.credentials_file, copied)
    copied.chmod(0o644)
    with pytest.raises(BadInput, match="0600"):
        ObjectStore(config.model_copy(update={"credentials_file": str(copied)}))


class _LosesAnswers:
    """A TCP proxy that passes every request on and closes instead of passing the first PUT's answer back."""

    def __init__(self, port: int) -> None:
        self._target, self.lost = port, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            seen = threading.Event()

            def forward() -> None:
                while data := client.recv(65_536):
                    if data.startswith(b"PUT "):
                        seen.set()
                    server.sendall(data)

            threading.Thread(target=lambda: _quietly(forward), daemon=True).start()
            while data := server.recv(65_536):
                if seen.is_set() and not self.lost and b" 200 OK" in data:
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)


def _quietly(act: object) -> None:
    try:
        act()  # type: ignore[operator]
    except OSError:
        return


@pytest.mark.parametrize("kind", ["create", "replace"])
def test_a_lost_answer_is_no_lost_race(config: environment.ObjectStore, kind: str) -> None:
    """A write whose answer got lost is repeated by the client, refused by the store, and is a success all the same."""
    assert config.endpoint_url is not None
    proxy = _LosesAnswers(int(config.endpoint_url.rpartition(":")[2]))
    prefix = f"t-{secrets.token_hex(4)}"
    direct = ObjectStore(config.model_copy(update={"prefix": prefix}))
    lossy = ObjectStore(config.model_copy(update={"prefix": prefix, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}))
    try:
        if kind == "create":
            etag = lossy.create("key", b"mine")
        else:
            etag = lossy.replace("key", b"mine", direct.create("key", b"before"))
    finally:
        proxy.close()
    assert proxy.lost == 1
    assert direct.read("key") == (b"mine", etag)


HOLDER = """
import sys, time
from rollout import environment, runs
from rollout.objectstore import ObjectStore
store = ObjectStore(environment.ObjectStore.model_validate_json(sys.argv[1]))
with runs.open_phase(store, "sandbox", "1", operator="first", plan_digest="p", lease_seconds=60) as session:
    session.set_fact("half", "done")
    print(session.token, flush=True)
    time.sleep(120)
"""


def test_a_killed_holder_is_followed_at_once(store: ObjectStore) -> None:
    """While its holder lives the lease is refused; after kill -9 the same command goes on, in the same run, with a
    higher token, and the dead one's workers are shut out."""
    config = store.config.model_dump_json()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, config],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    try:
        assert holder.stdout is not None
        token = int(holder.stdout.readline())
        state = runs.current(store)
        assert state is not None and state.lease is not None and state.lease.pid == holder.pid
        worker = runs.attach(store, state.run, token)
        with pytest.raises(Refused, match=f"first is at work on .*pid {holder.pid}"):
            runs.open_phase(store, "sandbox", "1", operator="second", plan_digest="p", lease_seconds=60)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with runs.open_phase(store, "sandbox", "1", operator="second", plan_digest="p", lease_seconds=60) as session:
            assert (session.run, session.token) == (state.run, token + 1)
            assert session.state().facts == {"half": "done"}
            with pytest.raises(Fenced):
                worker.set_fact("late", True)
            session.passed()
    finally:
        holder.kill()
        holder.wait(10)
    after = runs.current(store)
    assert after is not None and after.lease is None and after.phases["1"].verdict == "pass"
    kinds = [event.kind for event in journal.read(store, state.run)]
    assert kinds == ["phase_started", "lease_taken_over", "phase_started", "phase_ended"]
    assert journal.check(store, state.run) == []


def test_eight_openers_make_one_run(store: ObjectStore) -> None:
    """Of eight operators who begin phase 1 at the same moment one gets the lease, and there is one run."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> str | None:
        barrier.wait(30)
        try:
            return runs.open_phase(
                store, "sandbox", "1", operator=f"operator {number}", plan_digest="p", lease_seconds=60
            ).run
        except Refused:
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        began = [run for run in pool.map(begin, range(THREADS)) if run]
    assert len(began) == 1
    assert [key for key in store.keys("runs/") if key.endswith("state.json")] == [f"runs/{began[0]}/state.json"]


def test_the_heartbeat_outlives_the_lease(store: ObjectStore) -> None:
    """A session that works longer than its lease keeps it, by the store's clock."""
    with runs.open_phase(store, "sandbox", "1", operator="o", plan_digest="p", lease_seconds=1) as session:
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            state = runs.current(store)
            assert state is not None and state.lease is not None and state.lease.expires >= store.now()
            time.sleep(0.3)
        session.check()
        session.passed()


def test_facts_of_parallel_workers_all_land(store: ObjectStore) -> None:
    """Workers that set facts at the same moment do not overwrite each other."""
    with runs.open_phase(store, "sandbox", "1", operator="o", plan_digest="p", lease_seconds=60) as session:
        workers = [runs.attach(store, session.run, session.token) for _ in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda pair: pair[1].set_fact(f"host-{pair[0]}", pair[0]), enumerate(workers)))
        assert session.state().facts == {f"host-{n}": n for n in range(THREADS)}


APPENDER = """
import sys
from pathlib import Path
from rollout import environment, journal
from rollout.objectstore import ObjectStore
store = ObjectStore(environment.ObjectStore.model_validate_json(sys.argv[1]))
writer = journal.Journal(store, "run", token=1, operator=sys.argv[2], mirror=Path(sys.argv[3]))
for number in range(15):
    writer.append("tick", number=number)
"""


def test_parallel_processes_all_land_in_the_journal(store: ObjectStore, tmp_path: Path) -> None:
    """Four processes append 15 events each: 60 arrive, chained, in each writer's order, and 60 lines in the copy."""
    config = store.config.model_dump_json()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, config, f"writer {n}", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        )
        for n in range(4)
    ]
    try:
        assert [writer.wait(90) for writer in writers] == [0, 0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
    events = list(journal.read(store, "run"))
    assert [event.seq for event in events] == list(range(1, 61))
    for n in range(4):
        assert [e.facts["number"] for e in events if e.operator == f"writer {n}"] == list(range(15))
    assert journal.check(store, "run") == []
    assert len((tmp_path / "run" / "journal.jsonl").read_text().splitlines()) == 60


def test_a_changed_event_shows(store: ObjectStore) -> None:
    """An event overwritten in the bucket, in the middle or at the end, is found."""
    for number in range(4):
        journal.append(store, "run", "step", number=number)
    assert journal.check(store, "run") == []
    for seq in (2, 4):
        key = f"runs/run/journal/{seq:08d}.json"
        body, etag = store.read(key)
        changed = store.replace(key, body.replace(b'"step"', b'"stop"'), etag)
        assert journal.check(store, "run") != []
        store.replace(key, body, changed)
        assert journal.check(store, "run") == []
