"""Snapshots on real servers: taken under writes, restored, compared; every kind of damage is found, and live is never
touched."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from snapshots_servers import Servers

from rollout import seed, snapshots
from rollout.errors import Failed, Refused
from rollout.snapshots import clients
from rollout.snapshots.workspace import PREFIX, sweep, workspace

ROWS = 20_000


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Live and staging Postgres and Valkey, and an S3 store; live has the content tier as found, and a ledger."""
    started = Servers()
    try:
        live = started.database("content")
        seed.baseline(live)
        with psycopg.connect(live.conninfo()) as connection:
            connection.execute(
                "INSERT INTO public.email_content (storage_key, tenant_id, content_text, headers)"
                " SELECT 'k' || i, gen_random_uuid(), repeat('text ', i %% 50), '{\"a\": 1.50}'"
                " FROM generate_series(1, %s) i",
                [ROWS],
            )
            connection.execute(Path(__file__).with_name("snapshots_objects.sql").read_bytes())
            connection.execute("CREATE SCHEMA rollout")
            connection.execute(
                "CREATE TABLE rollout.notes (id bigint GENERATED ALWAYS AS IDENTITY, r float8, at timestamptz)"
            )
            connection.execute(
                "INSERT INTO rollout.notes (r, at) SELECT random(), clock_timestamp() FROM generate_series(1, 100)"
            )
        client = redis.Redis(port=started.redis_ports["live"])
        pipeline = client.pipeline(transaction=False)
        for i in range(2000):
            pipeline.hset(f"job:{i}", mapping={"id": i, "status": "queued"})
            pipeline.set(f"campaign:{i}", "x", ex=300 if i % 2 else 7200)
        pipeline.sadd("recent_jobs:email-sending", *range(3000))
        pipeline.rpush("queue:email-sending", *range(500))
        pipeline.set("gone soon", "x", px=1500)
        pipeline.execute()
        client.function_load("#!lua name=lib\nserver.register_function('f', function() return 1 end)")
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def manifest(servers: Servers) -> snapshots.Manifest:
    """A snapshot of the content tier and Redis, taken while both are written to."""
    stop = threading.Event()
    live = servers.database("content")
    written = 0

    def write() -> None:
        nonlocal written
        client = redis.Redis(port=servers.redis_ports["live"])
        with psycopg.connect(live.conninfo(), autocommit=True) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO rollout.notes (r, at) VALUES (random(), clock_timestamp())")
                connection.execute(
                    "UPDATE public.email_content SET retention_days = retention_days + 1 WHERE storage_key = 'k7'"
                )
                client.rpush("queue:email-sending", written)
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        prefix = snapshots.new_prefix()
        database = snapshots.take_database(live, servers.store, prefix)
        cache = snapshots.take_redis(servers.redis(), servers.store, prefix)
        assert snapshots.unfinished(servers.store) == [prefix]
    finally:
        stop.set()
        writer.join()
    assert written > 10
    return snapshots.commit(servers.store, prefix, [database], [cache])


@pytest.fixture
def restored(servers: Servers, manifest: snapshots.Manifest) -> snapshots.Manifest:
    """The same snapshot, and staging fresh from it."""
    snapshots.restore_database(manifest.databases[0], servers.store, servers.database("content", "staging"))
    return manifest


def _compare(servers: Servers, manifest: snapshots.Manifest) -> snapshots.Comparison:
    return snapshots.compare_database(manifest.databases[0], servers.database("content", "staging"))


def test_restored_database_equals_the_snapshot(servers: Servers, restored: snapshots.Manifest) -> None:
    """Under writes, all tables with the ledger's, all rows and objects are equal; only the extension is left out, and
    said."""
    found = _compare(servers, restored)
    assert found.equal, found.differences
    assert found.rows >= ROWS + 100
    assert "rollout.notes" in restored.databases[0].contents.tables
    assert found.left_out == ["extension pg_stat_statements"]
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner.json"):
        assert json.loads(owner.read_text())["pid"] != os.getpid()


def test_manifest_is_the_latest_and_holds_every_object(servers: Servers, manifest: snapshots.Manifest) -> None:
    """It reads back as it was written, with a version, a sum and a size for every object; a second commit is
    refused."""
    assert snapshots.latest(servers.store) == manifest
    assert all(o.version_id and len(o.sha256) == 64 and o.size > 0 for o in manifest.objects())
    assert snapshots.unfinished(servers.store) == []
    with pytest.raises(Failed, match="exists"):
        snapshots.commit(servers.store, manifest.prefix, manifest.databases, manifest.redis)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE public.email_content SET content_text = 'x' WHERE storage_key = 'k5'",
            "table public.email_content has the same",
        ),
        (
            "DELETE FROM public.email_content WHERE storage_key = 'k5'",
            "table public.email_content has 19,999 rows, the snapshot 20,000",
        ),
        ("UPDATE rollout.notes SET r = r + 1e-15 WHERE id = 1", "table rollout.notes has the same"),
        ("SELECT setval('rollout.notes_id_seq', 1)", "sequence rollout.notes_id_seq"),
        (
            "DROP INDEX public.{index}; CREATE INDEX {index} ON public.email_messages (subject)",
            "index public.{index} is defined otherwise",
        ),
        (
            "ALTER TABLE public.email_content ALTER retention_days SET DEFAULT 1",
            "column public.email_content.retention_days",
        ),
        ("REVOKE SELECT ON public.email_content FROM penguin_app", "grants on relation public.email_content"),
        (
            "UPDATE v2.jobs SET m = 'ok' WHERE id = (SELECT min(id::text)::uuid FROM v2.jobs_a)",
            "table v2.jobs_a has the same",
        ),
        ("ALTER TABLE v2.jobs_a DISABLE TRIGGER stamp", "trigger stamp on v2.jobs_a"),
        (
            "ALTER POLICY mine ON v2.jobs USING (queue_name IN ('a', 'e') AND (s > 1 OR r IS NULL))",
            "policy mine on v2.jobs",
        ),
        ("ALTER VIEW v2.work RESET (security_invoker)", "relation v2.work"),
        ("CREATE TABLE public.more ()", "table public.more is not in the snapshot"),
    ],
)
def test_damage_in_staging_is_found(servers: Servers, restored: snapshots.Manifest, damage: str, said: str) -> None:
    """One changed row, digit, index, default or grant is a difference that names it."""
    with psycopg.connect(servers.database("content", "staging").conninfo(), autocommit=True) as connection:
        row = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'email_messages' AND indexname NOT LIKE '%pkey'"
        ).fetchone()
        assert row
        connection.execute(damage.format(index=row[0]).encode())
    found = _compare(servers, restored)
    assert not found.equal
    assert any(said.format(index=row[0]) in sentence for sentence in found.differences), found.differences


def test_redis_is_restored_and_compared(servers: Servers, manifest: snapshots.Manifest) -> None:
    """Staging Redis, which held other keys, then holds the snapshot's; one changed value, expiry or key is found."""
    target = servers.redis("staging")
    client = redis.Redis(port=target.port)
    client.set("junk", "x")
    delay = redis.Redis(port=servers.redis_ports["live"]).config_get("repl-diskless-sync-delay")
    assert delay == {"repl-diskless-sync-delay": "5"}
    time.sleep(1.5)  # `gone soon` expires between snapshot and comparison, as cache keys do
    snapshots.restore_redis(manifest.redis[0], servers.store, target)
    found = snapshots.compare_redis(manifest.redis[0], target)
    assert found.equal, found.differences
    assert found.rows >= 4000
    assert client.info("replication")["role"] == "master"
    assert client.config_get("masterauth") == {"masterauth": ""}
    client.hset("job:7", "status", "done")
    assert len(snapshots.compare_redis(manifest.redis[0], target).differences) == 1
    client.hset("job:7", "status", "queued")
    assert snapshots.compare_redis(manifest.redis[0], target).equal
    client.persist("campaign:2")
    assert not snapshots.compare_redis(manifest.redis[0], target).equal


def test_damaged_object_is_refused_before_staging_is_touched(servers: Servers, restored: snapshots.Manifest) -> None:
    """A flipped byte in the store makes the restore fail on its SHA-256, and the staging database stands as it was."""
    snapshot = restored.databases[0]
    (part,) = snapshot.parts
    body = bytearray(servers.store.read(part.key)[0])
    body[len(body) // 2] ^= 1
    damaged = servers.store.upload("snapshots/damaged.dump", io.BytesIO(body))
    part = part.model_copy(update={"key": damaged.key, "version_id": damaged.version_id})
    with pytest.raises(Failed, match="SHA-256"):
        snapshots.restore_database(
            snapshot.model_copy(update={"parts": [part]}), servers.store, servers.database("content", "staging")
        )
    assert _compare(servers, restored).equal


def test_restore_goes_nowhere_but_staging(servers: Servers, manifest: snapshots.Manifest) -> None:
    """The live set is refused, and so is a `staging` host whose address is the live server's."""
    live, cache = servers.database("content"), servers.redis()
    with pytest.raises(Refused, match="host set 'live'"):
        snapshots.restore_database(manifest.databases[0], servers.store, live)
    with pytest.raises(Refused, match="taken from"):
        snapshots.restore_database(
            manifest.databases[0], servers.store, live.model_copy(update={"host_set": "staging"})
        )
    with pytest.raises(Refused, match="host set 'live'"):
        snapshots.restore_redis(manifest.redis[0], servers.store, cache)
    with pytest.raises(Refused, match="taken from"):
        snapshots.restore_redis(manifest.redis[0], servers.store, cache.model_copy(update={"host_set": "staging"}))


def test_failing_dump_stores_nothing(servers: Servers) -> None:
    """A table that is locked makes pg_dump fail after its lock wait; the take fails with its words, and there is no
    object."""
    live = servers.database("oltp")
    with psycopg.connect(live.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE public.locked (i int)")
    with servers.superuser(live) as connection:
        connection.execute("BEGIN; LOCK TABLE public.locked")
        with pytest.raises(Failed, match="lock"):
            snapshots.take_database(live, servers.store, "snapshots/failing")
    assert list(servers.store.keys("snapshots/failing")) == []


def test_forced_row_security_is_refused(servers: Servers) -> None:
    """Rows that the runner's role would not see are a refusal, not a smaller snapshot."""
    live = servers.database("queue")
    with psycopg.connect(live.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE public.walled (i int)")
        connection.execute("ALTER TABLE public.walled ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE public.walled FORCE ROW LEVEL SECURITY")
    with servers.superuser(live) as connection:
        connection.execute("ALTER ROLE penguin_rollout NOBYPASSRLS")
        with pytest.raises(Refused, match=r"public\.walled"):
            snapshots.take_database(live, servers.store, "snapshots/forced")
        connection.execute("ALTER ROLE penguin_rollout BYPASSRLS")


def test_output_of_a_failing_program_never_ends_well() -> None:
    """What a program wrote before it failed is not taken for the whole."""
    stream = clients.Output(["/bin/sh", "-c", "printf half; echo broken >&2; exit 3"])
    assert stream.read(4) == b"half"
    with pytest.raises(Failed, match="exited with 3: broken"):
        stream.read(4)
    stream.close()


def test_workspace_of_a_killed_process_is_swept() -> None:
    """After kill -9 its folder and the program within it stay; the next call removes both, and leaves a living owner's
    alone."""
    program = (
        "import subprocess, sys, time, json; from rollout.snapshots.workspace import workspace\n"
        "with workspace('kill') as folder:\n"
        "    child = subprocess.Popen(['sleep', '600'], cwd=folder)\n"
        "    print(json.dumps([str(folder), child.pid]), flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ) as owner:
        assert owner.stdout is not None
        folder, child = json.loads(owner.stdout.readline())
        with workspace("mine") as mine:
            assert Path(folder).is_dir()
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            assert Path(folder) in sweep()
            assert mine.is_dir()
    assert not Path(folder).exists()
    with pytest.raises(ProcessLookupError):
        _signal_nothing(child)


def _signal_nothing(pid: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        time.sleep(0.05)
