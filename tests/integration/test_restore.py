"""Snapshots proven on throw-away servers and brought back beside live: whatever is wrong with one is found before it counts."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest
import zstandard
from psycopg import sql
from servers import postgres_binaries, superuser
from snapshots_servers import Servers

from rollout import seed, snapshots
from rollout.environment import Environment, Settings
from rollout.errors import BadInput, Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.restoring import bringing
from rollout.restoring.exchange import exchange
from rollout.snapshots import catalogue, dumping, label, proof, taking, verifying
from rollout.snapshots.records import Manifest
from rollout.snapshots.workspace import PREFIX, sweep

ROWS = 30_000
ODD = '"Odd ""Schema"."a.b*c"'


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Live and staging servers and a store; live oltp holds a large table with a hard name, an identity and a large object."""
    started = Servers()
    try:
        live = started.database("oltp")
        seed.baseline(live)
        with psycopg.connect(live.conninfo(), autocommit=True) as connection:
            connection.execute('CREATE SCHEMA "Odd ""Schema"')
            connection.execute(f"CREATE TABLE {ODD} (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text)".encode())
            filled = f"INSERT INTO {{}} SELECT {{}} FROM generate_series(1, {ROWS}) AS i"
            connection.execute(filled.format(f"{ODD} (t)", "repeat(md5(i::text), 40)").encode())
            connection.execute("CREATE TABLE public.big (n bigint PRIMARY KEY, t text)")
            connection.execute(filled.format("public.big", "i, repeat(md5(i::text), 60)").encode())
            connection.execute("SELECT lo_from_bytea(0, 'large')")
        with superuser(live.port, live.dbname) as connection:  # as a DBA may have done: it is in every dump from then on
            connection.execute("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO penguin_app")
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def env(servers: Servers) -> Environment:
    """An environment of the live oltp database alone."""
    settings = Settings.model_construct(
        snapshot_jobs=3, snapshot_retention_days=dict.fromkeys(("oltp", "content", "queue", "olap"), 1)
    )
    return Environment.model_construct(name="test", databases=[servers.database("oltp")], redis=[], settings=settings)


@pytest.fixture(scope="module")
def manifest(servers: Servers, env: Environment) -> Manifest:
    """A snapshot of it, in several streams."""
    before = dumping.DIVIDED_ABOVE_BYTES
    dumping.DIVIDED_ABOVE_BYTES = 2**20
    try:
        return taking.take(env, servers.store, ["oltp"], lambda _: None, who="test", why="a test")
    finally:
        dumping.DIVIDED_ABOVE_BYTES = before


def test_it_is_proven_in_several_streams(servers: Servers, env: Environment, manifest: Manifest) -> None:
    """Every table, sequence, large object, role and index is equal on a throw-away server, and the proof is found by name."""
    parts = manifest.databases[0].parts
    assert [part.section for part in parts] == ["schema", "data", "data", "data"]
    assert {name for part in parts for name in part.tables} == {ODD, '"public"."big"'}
    made = verifying.verify(env, servers.store, manifest, lambda _: None, by="test")
    assert made.verdict == "pass", (made.findings, made.comparisons)
    assert made.comparisons["pg-oltp-1"].rows >= 2 * ROWS
    assert made.recovered_seconds["pg-oltp-1"] > 0
    assert catalogue.find(servers.store, "proven") == manifest
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner.json"):  # others may be at work beside us
        assert json.loads(owner.read_text())["pid"] != os.getpid()


def _damaged(servers: Servers, manifest: Manifest, number: int, change: Any) -> Manifest:
    """Return the manifest with one object whose bytes in the store are others than were recorded."""
    taken = manifest.databases[0]
    part = taken.parts[number]
    body = bytearray(servers.store.read(part.key)[0])
    change(body)
    version = servers.store.client.put_object(Bucket=servers.store.bucket, Key=servers.store.prefix + part.key, Body=bytes(body))
    edited = part.model_copy(update={"version_id": version["VersionId"]})
    parts = [edited if n == number else one for n, one in enumerate(taken.parts)]
    return manifest.model_copy(update={"databases": [taken.model_copy(update={"parts": parts})]})


def _flip(body: bytearray) -> None:
    body[len(body) // 2] ^= 1


def _truncate(body: bytearray) -> None:
    del body[len(body) * 2 // 3 :]


@pytest.mark.parametrize(("number", "change"), [(0, _flip), (1, _truncate), (3, _flip)])
def test_a_damaged_object_is_no_proof_and_comes_beside_nothing(
    servers: Servers, env: Environment, manifest: Manifest, number: int, change: Any
) -> None:
    """One bit, or the end missing, in any object: the proof fails and names it, and no database is left to be exchanged."""
    damaged = _damaged(servers, manifest, number, change)
    made = verifying.verify(env, servers.store, damaged, lambda _: None, by="test")
    assert made.verdict == "fail"
    assert any(damaged.databases[0].parts[number].key in one for one in made.findings), made.findings
    (place,) = bringing.places(env, servers.store, damaged, ["oltp"])
    with pytest.raises(Failed, match=damaged.databases[0].parts[number].key):
        bringing.bring(servers.store, damaged, [place], lambda _: None)
    with superuser(place.live.port) as connection:
        assert not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (place.name,)).fetchone()


def test_a_row_that_differs_is_no_proof(servers: Servers, env: Environment, manifest: Manifest) -> None:
    """A snapshot whose digest of one table is of other rows restores, differs, and is not proven."""
    taken = manifest.databases[0]
    tables = taken.contents.tables | {"public.big": taken.contents.tables["public.big"].model_copy(update={"sums": (1, 2)})}
    contents = taken.contents.model_copy(update={"tables": tables})
    other = manifest.model_copy(update={"databases": [taken.model_copy(update={"contents": contents})]})
    made = verifying.verify(env, servers.store, other, lambda _: None, by="test")
    assert made.verdict == "fail"
    assert "public.big" in made.comparisons["pg-oltp-1"].differences[0]
    assert proof.newest(servers.store, manifest) == made


def test_brought_back_beside_and_exchanged(servers: Servers, env: Environment, manifest: Manifest) -> None:
    """A table is dropped by accident: the snapshot comes beside live, equal, and takes its place; what was live is kept."""
    live = env.databases[0]
    with psycopg.connect(live.conninfo(), autocommit=True) as connection:
        connection.execute("DROP TABLE public.big")
        connection.execute("CREATE TABLE public.since (n int)")
    (place,) = bringing.places(env, servers.store, manifest, ["oltp"])
    (done,) = bringing.bring(servers.store, manifest, [place], lambda _: None)
    assert done.changed
    assert done.comparison is not None
    assert done.comparison.equal
    (again,) = bringing.bring(servers.store, manifest, [place], lambda _: None)
    assert not again.changed
    with psycopg.connect(live.conninfo()) as connection:  # live was not touched
        assert connection.execute("SELECT to_regclass('public.big'), to_regclass('public.since')").fetchone() == (None, "since")
    made = exchange(live, place.name, f"{live.dbname}_kept")
    assert made.changed
    with psycopg.connect(live.conninfo()) as connection:
        assert connection.execute("SELECT count(*) FROM public.big").fetchone() == (ROWS,)
    (known,) = bringing.bring(servers.store, manifest, [place], lambda _: None)
    assert not known.changed
    with superuser(live.port) as connection:
        assert label.read(connection, f"{live.dbname}_kept").replaced  # type: ignore[union-attr]
    assert exchange(live, f"{live.dbname}_kept", place.name).changed  # back, for the other tests


def test_names_that_are_taken_are_refused(servers: Servers, env: Environment, manifest: Manifest) -> None:
    """A database with anything in it that is not a restore of ours keeps its name; live's own name is no name for a restore."""
    with superuser(env.databases[0].port) as connection:
        connection.execute("CREATE DATABASE theirs OWNER penguin_rollout")
    with superuser(env.databases[0].port, "theirs") as connection:
        connection.execute("CREATE TABLE t ()")
    (place,) = bringing.places(env, servers.store, manifest, ["oltp"], "theirs")
    with pytest.raises(BadInput, match="has a database theirs"):
        bringing.bring(servers.store, manifest, [place], lambda _: None)
    with pytest.raises(BadInput, match="is the live database"):
        bringing.places(env, servers.store, manifest, ["oltp"], env.databases[0].dbname)
    with pytest.raises(BadInput, match="holds no"):
        bringing.places(
            env.model_copy(update={"databases": [servers.database("content")]}), servers.store, manifest, ["content"]
        )


def test_a_killed_restore_is_begun_anew(servers: Servers, env: Environment, manifest: Manifest) -> None:
    """Kill -9 in the middle: nothing is left that looks compared, and the same call ends well."""
    (place,) = bringing.places(env, servers.store, manifest, ["oltp"], "killed")
    program = (
        "import sys, pickle; from rollout.restoring import bringing; store, manifest, place = pickle.load(sys.stdin.buffer);"
        "from rollout.objectstore import ObjectStore; print('go', flush=True);"
        "bringing.bring(ObjectStore(store), manifest, [place], lambda _: None)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(pickle.dumps((servers.store.config, manifest, place)))
    child.stdin.close()
    assert child.stdout.readline() == b"go\n"
    end = time.monotonic() + 30
    with superuser(place.live.port) as connection:
        while not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'killed'").fetchone():
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        found = label.read(connection, "killed")
        assert found is None or found.compared is None
    sweep()
    (done,) = bringing.bring(servers.store, manifest, [place], lambda _: None)
    assert done.changed


def test_an_older_server_is_refused_up_front(servers: Servers, manifest: Manifest) -> None:
    """A snapshot of a newer Postgres does not go into an older one; nothing is made there."""
    taken = manifest.databases[0]
    newer = taken.model_copy(update={"origin": taken.origin.model_copy(update={"server_major": 99})})
    target = servers.database("oltp").model_copy(update={"dbname": "older"})
    with pytest.raises(Refused, match="99 or newer"):
        snapshots.restore_database(newer, servers.store, target, beside=True)
    with superuser(target.port) as connection:
        assert not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'older'").fetchone()


def test_encrypted_before_it_leaves(servers: Servers, env: Environment, tmp_path: Path) -> None:
    """With a recipient nothing readable reaches the store; proven with the private key, refused without."""
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "identity"
    key.touch(0o600)
    key.write_text(str(identity))
    config = servers.store.config
    sealing = ObjectStore(config.model_copy(update={"recipient": str(identity.to_public())}))
    both = ObjectStore(sealing.config.model_copy(update={"identity_file": str(key)}))
    manifest = taking.take(env, sealing, ["oltp"], lambda _: None, who="test", why="sealed")
    for part in manifest.databases[0].parts:
        assert part.key.endswith(".dump.zst.age")
        assert servers.store.read(part.key)[0].startswith(b"age-encryption.org/v1")
    made = verifying.verify(env, both, manifest, lambda _: None, by="test")
    assert made.verdict == "pass", (made.findings, made.comparisons)
    with pytest.raises(BadInput, match="identity_file"):
        verifying.verify(env, sealing, manifest, lambda _: None, by="test")


def test_bare_tools_restore_it(servers: Servers, manifest: Manifest, tmp_path: Path) -> None:
    """As the runbook says for whoever has no program of ours: the manifest's JSON, sha256, zstd, createdb, pg_restore."""
    programs, port = postgres_binaries(), servers.postgres["staging"]
    told = json.loads(servers.store.read(manifest.key)[0])["databases"][0]
    files = {}
    for part in told["parts"]:
        where = {"Bucket": servers.store.bucket, "Key": servers.store.prefix + part["key"], "VersionId": part["version_id"]}
        body = servers.store.client.get_object(**where)["Body"].read()  # type: ignore[arg-type]
        assert hashlib.sha256(body).hexdigest() == part["sha256"]
        path = tmp_path / f"{len(files)}.dump"
        path.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(body))
        files[path] = part["section"]
    with superuser(port) as connection:
        connection.execute("CREATE DATABASE bare")
    schema = [path for path, section in files.items() if section == "schema"]
    data = [path for path, section in files.items() if section == "data"]
    order = [("--section=pre-data", schema), ("--section=data", data), ("--section=post-data", schema)]
    for section, paths in order:
        for path in paths:
            argv = [programs / "pg_restore", section, "--exit-on-error", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
            done = subprocess.run([*argv, "--dbname=bare", path], capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
    with superuser(port, "bare") as connection:
        for name, digest in told["contents"]["tables"].items():
            schema_name, _, table = name.partition(".")
            counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema_name, table))
            assert connection.execute(counted).fetchone() == (digest["rows"],), name
