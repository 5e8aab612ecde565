"""The two ways into a live Redis, and clusters: no acknowledged write is lost, and nothing is flushed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
import redis
from redis_servers import REDIS_62, RedisServers, client, fill

from rollout import environment, snapshots
from rollout.errors import Failed, Refused
from rollout.snapshots import RedisSnapshot
from rollout.snapshots.redis.sync import wait_for_sync


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisServers]:
    """An S3 store, and whatever a test starts."""
    started = RedisServers()
    try:
        yield started
    finally:
        started.stop()


def _snapshot(servers: RedisServers, server: environment.Redis) -> RedisSnapshot:
    return snapshots.take_redis(server, servers.store, snapshots.new_prefix())


class _Writer:
    """A client that counts upwards in a list and remembers what was acknowledged, refused and how long it waited."""

    def __init__(self, server: environment.Redis) -> None:
        self.acknowledged: list[bytes] = []
        self.errors: list[str] = []
        self.longest_ms = 0.0
        self._server, self._stop = server, threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        one, number = client(self._server), 0
        while not self._stop.is_set():
            number, began = number + 1, time.monotonic()
            try:
                one.rpush("written", number)
                self.acknowledged.append(b"%d" % number)
            except redis.RedisError as error:
                self.errors.append(str(error))
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)
            time.sleep(0.001)


def test_swap_under_writers_loses_nothing(servers: RedisServers) -> None:
    """The live server holds the snapshot; every acknowledged write is in what it held before or in what it holds now;
    writers wait, or are refused as by a replica."""
    live = servers.start(host_set="live")
    fill(live, 5000)
    taken = _snapshot(servers, live)
    client(live).unlink("queue:email-sending")
    client(live).set("later", "x")
    with _Writer(live) as writer:
        time.sleep(0.2)
        swapped = snapshots.swap_in_redis(taken, servers.store, live, snapshots.new_prefix())
        time.sleep(0.2)
    # A write that comes before the server follows the helper waits; one that comes after is refused by the server.
    assert all("read only replica" in error or "loading" in error for error in writer.errors), writer.errors[:3]
    now = client(live).lrange("written", 0, -1)
    client(live).unlink("written")
    found = snapshots.compare_redis(taken, live)
    assert found.equal, found.differences
    about = client(live).info("replication")
    assert about["role"] == "master" and client(live).config_get("masterauth") == {"masterauth": ""}
    assert len(swapped.replaced) == 2
    last = servers.start()
    snapshots.restore_redis(swapped.replaced[1], servers.store, last, way="logical")
    before = client(last).lrange("written", 0, -1)
    assert client(last).get("later") == b"x" and before and now
    assert before + now == writer.acknowledged


def test_exchange_of_numbers_stops_nobody_and_keeps_everything(servers: RedisServers) -> None:
    """The databases hold the snapshot at once; what they held stays aside, up to the last write; back again by one call."""
    live = servers.start(host_set="live")
    fill(live, 5000)
    taken = _snapshot(servers, live)
    client(live).set("later", "x")
    client(live, 5).set("in a database that the snapshot has not", "x")
    client(live, 15).set("rollout:aside:loading", "a load that was killed")
    client(live, 15).set("left", "x")
    with _Writer(live) as writer:
        time.sleep(0.2)
        exchanged = snapshots.exchange_redis(taken, servers.store, live, snapshots.new_prefix())
        time.sleep(0.2)
    assert writer.errors == [] and exchanged.aside == {0: 15, 3: 14, 5: 13}
    now, before = (client(live, n).lrange("written", 0, -1) for n in (0, 15))
    assert before and now and before + now == writer.acknowledged
    assert client(live, 15).get("later") == b"x" and not client(live).exists("later") and not client(live, 5).dbsize()
    snapshots.take_back_redis(exchanged, live)
    assert client(live).get("later") == b"x" and client(live, 5).dbsize() == 1 and not client(live, 15).exists("later")
    snapshots.take_back_redis(exchanged, live)
    client(live).unlink("written")
    stored = snapshots.discard_aside_redis(exchanged, servers.store, live, snapshots.new_prefix())
    assert len(stored) == 3 and not any(client(live, n).dbsize() for n in (13, 14, 15))
    found = snapshots.compare_redis(taken, live)
    assert found.equal, found.differences


def test_swap_keeps_the_credentials_of_a_fleet(servers: RedisServers) -> None:
    """A server that has a password for its primary keeps it: the helper takes that one."""
    live = servers.start("--masterauth", "fleet word", "--primaryuser", "repl", host_set="live")
    fill(live)
    taken = _snapshot(servers, live)
    client(live).set("later", "x")
    swapped = snapshots.swap_in_redis(taken, servers.store, live, snapshots.new_prefix())
    assert len(swapped.replaced) == 1 and not client(live).exists("later")
    assert client(live).config_get("masterauth") == {"masterauth": "fleet word"}


def test_a_swap_that_was_killed_is_released(servers: RedisServers) -> None:
    """A server left following nothing is a primary again by one call, which refuses one whose primary answers."""
    live = servers.start(host_set="live")
    client(live).set("mine", "x")
    gone = servers.start()
    process = servers.processes[-1]
    client(gone).config_set("repl-diskless-sync-delay", 0)
    client(live).execute_command("REPLICAOF", "127.0.0.1", gone.port)
    wait_for_sync(client(live), live.host)
    client(live).config_set("masterauth", "penguin-rollout-left-behind")
    with pytest.raises(Failed, match="which answers"):
        snapshots.release_redis(live)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while client(live).info("replication")["master_link_status"] == "up" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert snapshots.release_redis(live) and not snapshots.release_redis(live)
    assert client(live).info("replication")["role"] == "master"
    assert client(live).config_get("masterauth") == {"masterauth": ""}


@pytest.mark.parametrize("program", [None, REDIS_62])
def test_merge_touches_what_matches_and_keeps_what_was(servers: RedisServers, program: str | None) -> None:
    """Keys of the pattern are the snapshot's again, others stay; what they were comes back by undo; both repeatable."""
    live = servers.start(program=program, host_set="live")
    fill(live, 2000, functions=False)
    taken = _snapshot(servers, live)
    one = client(live)
    one.hset("job:7", "status", "spoilt")
    one.unlink("job:8")
    one.set("job:new", "x", ex=500)
    one.set("campaign:1", "changed")
    merged = snapshots.merge_redis(taken, servers.store, live, "job:*", snapshots.new_prefix())
    assert (merged.replaced, merged.added, merged.deleted) == (1, 1, 0) and merged.kept == 1998
    assert one.hget("job:7", "status") == b"queued" and one.exists("job:8", "job:new") == 2
    assert one.get("campaign:1") == b"changed"
    again = snapshots.merge_redis(taken, servers.store, live, "job:*", snapshots.new_prefix(), delete_absent=True)
    assert (again.replaced, again.added, again.deleted) == (0, 0, 1) and not one.exists("job:new")
    for done in (again, merged):
        snapshots.undo_merge_redis(done, servers.store, live, snapshots.new_prefix())
    assert one.hget("job:7", "status") == b"spoilt" and not one.exists("job:8")
    assert 490_000 < one.pttl("job:new") <= 500_000
    assert one.hgetall("job:9") == {b"id": b"9", b"status": b"queued"}


def test_merge_against_a_writer_loses_no_write(servers: RedisServers) -> None:
    """A counter that is written all the while: its value at the moment it is replaced is what was kept."""
    live = servers.start(host_set="live")
    client(live).set("count:1", 0)
    taken = _snapshot(servers, live)
    stop, counted = threading.Event(), 0

    def count() -> None:
        nonlocal counted
        one = client(live)
        while not stop.is_set():
            one.incr("count:1")
            counted += 1
            time.sleep(0.03)

    thread = threading.Thread(target=count)
    thread.start()
    time.sleep(0.2)
    try:
        merged = snapshots.merge_redis(taken, servers.store, live, "count:*", snapshots.new_prefix())
    finally:
        stop.set()
        thread.join()
    since = int(client(live).get("count:1") or 0)
    scratch = servers.start()
    with contextlib.suppress(redis.ResponseError):
        client(scratch).set("count:1", "scratch")
    snapshots.undo_merge_redis(merged, servers.store, scratch, snapshots.new_prefix())
    assert int(client(scratch).get("count:1") or 0) + since == counted


def test_cluster_of_three_masters(servers: RedisServers) -> None:
    """A snapshot of each master with its slots; back into the same layout, and, the logical way, into another one."""
    spans = ((0, 5460), (5461, 10922), (10923, 16383))
    source = servers.cluster(*spans, host_set="live")
    one = redis.RedisCluster(host="127.0.0.1", port=source[0].port)
    for i in range(600):
        one.hset(f"job:{i}", mapping={"id": i})
        one.set(f"campaign:{i}", "x", ex=7200)
    taken = snapshots.take_cluster(source[1], servers.store, snapshots.new_prefix(), marker="m")
    assert [(s.slots[0].first, s.slots[0].last) for s in taken] == list(spans)
    assert sum(s.keyspace.keys for s in taken) == 1201
    same, other = servers.cluster(*spans), servers.cluster((0, 8191), (8192, 16383))
    assert not snapshots.compare_cluster(taken, same[0]).equal
    snapshots.restore_cluster(taken, servers.store, same[2])
    found = snapshots.compare_cluster(taken, same[0])
    assert found.equal and found.rows == 1201, found.differences
    with pytest.raises(Refused, match="slots 0-8191"):
        snapshots.restore_cluster(taken, servers.store, other[0])
    with pytest.raises(Refused, match="slots 0-8191"):
        snapshots.restore_redis(taken[0], servers.store, other[0], way="logical")
    snapshots.restore_cluster(taken, servers.store, other[0], way="logical")
    found = snapshots.compare_cluster(taken, other[1])
    assert found.equal and found.rows == 1201, found.differences
    with redis.RedisCluster(host="127.0.0.1", port=other[0].port) as there:
        assert snapshots.has_marker(there, "m")
    with pytest.raises(Refused, match="never over a live"):
        snapshots.restore_cluster(taken, servers.store, source[0])
