"""The throttle on real servers of every version found: replicas behind, what each gauge reads, who may not see, refusals."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from engine_copy import NAME, RELATIONS, Copy, copied, prepare
from engine_servers import Client, Cluster, majors, until
from servers import superuser, within

from rollout.engine import controls, gauges, ledger
from rollout.engine.probe import Probe
from rollout.engine.sampler import Sampler
from rollout.environment import Database, Settings
from rollout.errors import Refused

ROWS = 30_000  # two seconds and more
LAG = "throttle_replica_lag_max_seconds"
EVERYTHING = dict.fromkeys(gauges.MEASURES, 1e9)


@pytest.fixture(params=list(majors().items()), ids=[f"postgres-{name}" for name in majors()])
def replicated(_binaries: None, request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, Database, int]]:
    """Start a cluster of its own with a standby; give it, a database and the standby's port."""
    running = Cluster(request.param[1])
    try:
        port = running.standby()
        yield running, running.database(), port
    finally:
        running.stop()


def test_a_copy_waits_for_a_replica(replicated: tuple[Cluster, Database, int]) -> None:
    """Replay that stands still slows the copy down and then holds it, by name; it goes on when the replica has caught up."""
    _, target, port = replicated
    prepare(target, 3 * ROWS)
    with superuser(port) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        with Copy(target, **{LAG: 1.5}) as copy:
            copy.says("(slowed by replica lag")
            copy.says("(held by replica lag")
            standing = copied(target)
            time.sleep(1.0)
            assert standing == copied(target) < 3 * ROWS
            assert "s of standby_1 (limit 1.5 s)" in copy.lines[-1][1]
            standby.execute("SELECT pg_wal_replay_resume()")
            told = copy.end().to_dict()["pace"]
        assert told["held_seconds"]["replica lag"] >= 1.0
        assert told["slowed_seconds"]["replica lag"] > 0
        assert told["worst"]["replica lag"]["value"] >= 3.0
    assert copied(target) == 3 * ROWS


def test_holding_too_long_refuses_with_the_figures_and_the_same_call_goes_on(
    replicated: tuple[Cluster, Database, int],
) -> None:
    """The refusal says for how long, because of what, beside its limit; nothing that was copied is copied again."""
    _, target, port = replicated
    prepare(target, ROWS)
    with superuser(port) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        limits = {LAG: 0.3, "throttle_hold_max_seconds": 1.0}
        said = r"stood still for 1 s: replica lag .* s of standby_1 \(limit 0.3 s\)"
        with Copy(target, **limits) as copy, pytest.raises(Refused, match=said):
            copy.end()
        standing = copied(target)
        assert 0 < standing < ROWS
        standby.execute("SELECT pg_wal_replay_resume()")
        level = "SELECT bool_and(replay_lsn = pg_current_wal_lsn()) FROM pg_stat_replication"
        until(target, level)
        with Copy(target, **limits) as copy:
            assert copy.end().rows == ROWS - standing


def test_a_replica_that_is_late_on_purpose_is_left_out(replicated: tuple[Cluster, Database, int]) -> None:
    """A second replica applies an hour late: ignored by name it slows nothing, and counts otherwise."""
    cluster, target, _ = replicated
    prepare(target, ROWS)
    cluster.standby("recovery_min_apply_delay=1h")
    with superuser(target.port, target.dbname) as root:
        root.execute("UPDATE t SET words = 'y' WHERE id <= 100")
    time.sleep(1.0)
    limits = {"throttle_replica_lag_max_mib": 0.001, LAG: 20.0}
    with Copy(target, throttle_ignored_replicas=["standby_2"], **limits | {"throttle_replica_lag_max_mib": 100.0}) as copy:
        assert copy.end().to_dict()["pace"]["slowed_seconds"] == {}
    with psycopg.connect(target.conninfo(), autocommit=True) as owner:
        owner.execute("TRUNCATE u; DELETE FROM rollout.checkpoints")
    said = r"replica backlog .* of standby_2"
    with Copy(target, throttle_hold_max_seconds=0.5, **limits) as copy, pytest.raises(Refused, match=said):
        copy.end()


@contextmanager
def sampled(target: Database, **limits: object) -> Iterator[Sampler]:
    settings = Settings.model_construct(**EVERYTHING | limits)
    with ledger.connect(target) as connection:
        controls.begin(connection, NAME)
        with Sampler(connection, NAME, RELATIONS, settings) as sampler:
            yield sampler


def value(sampler: Sampler, measure: str) -> gauges.Reading:
    return next(reading for reading in sampler.readings() if reading.measure == measure)


def test_every_gauge_reads_on_every_version(target: Database) -> None:
    """With a limit for each, each has a value within two seconds, and nothing is unknown."""
    prepare(target, 100)
    with sampled(target) as sampler:
        names = {label for label, _ in gauges.MEASURES.values()}
        within(5, lambda: _equal({reading.measure for reading in sampler.readings()}, names))
        assert sampler.unknown() == {}
        assert value(sampler, "replica lag").value == 0.0


def test_gauges_see_what_they_are_for(cluster: Cluster, target: Database) -> None:
    """A slot, an archiver that fails, dead rows, an old snapshot, requested checkpoints and WAL each move their own gauge."""
    prepare(target, 100)
    with superuser(target.port, target.dbname) as root, Client(target, "old") as old, sampled(target) as sampler:
        root.execute("ALTER TABLE t SET (autovacuum_enabled = false)")
        root.execute(f"SELECT pg_create_physical_replication_slot('slot_{target.dbname}', true)".encode())
        root.execute("ALTER SYSTEM SET archive_command = 'false'")
        root.execute("SELECT pg_reload_conf()")
        try:
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t LIMIT 1")
            root.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1000, 21000) AS n")
            root.execute("DELETE FROM t WHERE id >= 1000")
            root.execute("DO $$ BEGIN FOR n IN 1..500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
            for _ in range(3):
                root.execute("SELECT pg_switch_wal()")
                root.execute("INSERT INTO t VALUES (-1, '') ON CONFLICT (id) DO UPDATE SET words = excluded.words")
            root.execute("CHECKPOINT")

            def seen() -> None:
                assert value(sampler, "slot backlog").value > 32 and "slot_t_" in value(sampler, "slot backlog").detail
                assert value(sampler, "archive backlog").value >= 2
                assert value(sampler, "dead rows").value > 90 and value(sampler, "dead rows").detail == "public.t"
                assert value(sampler, "oldest xmin").value >= 500
                assert value(sampler, "oldest xmin").detail == f"pid {old.pid}"
                assert value(sampler, "requested checkpoints").value >= 1

            within(15, seen)
            seen_rate = lambda: (root.execute("UPDATE t SET words = repeat('z', 5000) WHERE id < 1000"),
                                 _over(value(sampler, "WAL rate").value, 0.001))  # fmt: skip
            within(10, seen_rate)
        finally:
            root.execute(f"SELECT pg_drop_replication_slot('slot_{target.dbname}')".encode())
            root.execute("ALTER SYSTEM SET archive_command = 'true'")
            root.execute("SELECT pg_reload_conf()")


def test_the_archive_backlog_is_told_from_names_where_it_may_not_be_counted(target: Database) -> None:
    """A role without pg_monitor goes by what was archived last."""
    with superuser(target.port, target.dbname) as root:
        root.execute("DROP ROLE IF EXISTS nobody_much")
        root.execute("CREATE ROLE nobody_much LOGIN")
        root.execute("CREATE TABLE IF NOT EXISTS moved (id int)")
        root.execute("SELECT pg_switch_wal()")
        root.execute("INSERT INTO moved VALUES (1)")
        archived = "SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver"
        until(target, archived)
        limited = target.model_copy(update={"user": "nobody_much"})
        with ledger.connect(limited) as connection:
            assert gauges.Archiver().read(connection, 0.0)["throttle_archive_backlog_max_files"][0] < 10


def test_who_may_not_see_says_so_once_and_goes_on(target: Database) -> None:
    """A role that is no member of pg_monitor: what it cannot measure is said once, throttles nothing, and is a fact."""
    prepare(target, ROWS)
    with superuser(target.port, target.dbname) as root:
        root.execute("DROP ROLE IF EXISTS blind")
        root.execute("CREATE ROLE blind LOGIN")
        root.execute("ALTER TABLE t OWNER TO blind; ALTER TABLE u OWNER TO blind; GRANT USAGE ON SCHEMA rollout TO blind")
        root.execute("GRANT ALL ON ALL TABLES IN SCHEMA rollout TO blind; GRANT USAGE ON SCHEMA public TO blind")
        limited = target.model_copy(update={"user": "blind"})
        with Copy(limited, throttle_oldest_xmin_max_transactions=1.0, throttle_slot_backlog_max_mib=1e9) as copy:
            done = copy.end().to_dict()
        assert done["pace"]["not_measured"] == {"oldest xmin": "the role is no member of pg_monitor"}
        assert done["pace"]["slowed_seconds"] == {}
        assert len([1 for _, line, _ in copy.lines if "not measured: oldest xmin" in line]) == 1
        root.execute("REASSIGN OWNED BY blind TO penguin_rollout")
        root.execute("DROP OWNED BY blind")


def test_without_a_second_connection_the_copy_goes_on(target: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be measured, everything says so, and nothing is slowed."""
    prepare(target, ROWS)

    def none_left(*_: object) -> None:
        raise psycopg.OperationalError("too many clients")

    monkeypatch.setattr("rollout.engine.sampler.beside", none_left)
    with Copy(target, **EVERYTHING) as copy:
        told = copy.end().to_dict()["pace"]
    assert set(told["not_measured"]) == {label for label, _ in gauges.MEASURES.values()}
    assert "too many clients" in told["not_measured"]["probe latency"]


def test_a_lost_measuring_connection_is_made_again(target: Database) -> None:
    """Somebody ends the session that measures: what it knew is forgotten, and known again seconds later."""
    prepare(target, 100)
    with sampled(target) as sampler, superuser(target.port, target.dbname) as root:
        within(5, lambda: value(sampler, "slot backlog"))
        ended = root.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'rollout-throttle'"
            " AND datname = current_database()"
        ).fetchone()
        assert ended == (1,)
        within(5, lambda: _equal(len(sampler.unknown()), len(gauges.MEASURES)))
        within(15, lambda: _equal(sampler.unknown(), {}))
        assert value(sampler, "slot backlog").limit == 1e9


def test_the_probe_feels_what_a_client_feels(target: Database) -> None:
    """A lock on the table makes the probe wait like any client; a pause that is being written does not."""
    prepare(target, 100)
    with ledger.connect(target) as connection, Client(target) as other:
        controls.begin(connection, NAME)
        probe = Probe(NAME, ["public.nothing", *RELATIONS])
        for _ in range(10):
            probe.read(connection, 0.0)
        calm = probe.latency_ms()
        other.execute(f"BEGIN; UPDATE rollout.controls SET reason = 'x' WHERE change = '{NAME}'")
        for _ in range(10):
            probe.read(connection, 0.0)
        assert (probe.latency_ms() or 0.0) < 1000
        other.execute("ROLLBACK; BEGIN; LOCK TABLE t").run("SELECT pg_sleep(0.3); COMMIT")
        probe.read(connection, 0.0)
        assert max(probe._last) > 200 > (calm or 0.0)
        other.wait()
        written = "SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing"
        assert connection.execute(written).fetchone() == {"nothing": True}


def test_latency_holds_a_copy_and_is_told(target: Database) -> None:
    """A limit that no commit keeps holds the copy until it refuses, and the figures stand in the refusal."""
    prepare(target, ROWS)
    limits = {"throttle_probe_latency_max_ms": 0.001, "throttle_hold_max_seconds": 0.5}
    said = r"probe latency .* ms \(limit 0.001 ms\)"
    with Copy(target, **limits) as copy, pytest.raises(Refused, match=said) as refused:
        copy.end()
    assert copied(target) == 0
    assert refused.value.page == "runbooks/deploy.md#throttled"


def test_a_copy_without_pain_is_not_slowed_and_its_facts_are_json(target: Database) -> None:
    """All gauges at once on a copy at full speed: nothing is slowed, and what was seen of each stands in the outcome."""
    prepare(target, 10 * ROWS)
    with Copy(target, fast=True, **EVERYTHING) as copy:
        told = json.loads(json.dumps(copy.end().to_dict()))
    assert (told["pace"]["slowed_seconds"], told["pace"]["held_seconds"], told["pace"]["not_measured"]) == ({}, {}, {})
    assert {"replica lag", "oldest xmin", "archive backlog"} <= set(told["pace"]["worst"])


def _equal(one: object, other: object) -> None:
    assert one == other


def _over(one: float, limit: float) -> None:
    assert one > limit
