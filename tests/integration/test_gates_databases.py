"""The gates and KPIs that ask databases, on a real Postgres: waits, an ageing queue, replicas, row security."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest
from checklist_asked import judged
from servers import Server
from traffic_fakes import environment as build_environment

from rollout import gates
from rollout.environment import Environment

NAMES = ("database_sessions", "queue_age", "replication_lag")


@pytest.fixture
def env(server: Server, tmp_path: Path) -> Environment:
    passfile = tmp_path / "pgpass"
    passfile.write_text("")
    passfile.chmod(0o600)
    base = build_environment(tmp_path, gate_window_seconds=1, gate_deadline_seconds=4, gate_queue_age_max_seconds=1)
    databases = [
        d.model_copy(
            update={
                "port": server.port,
                "dbname": server.database(d.tier),
                "user": "penguin_rollout",
                "passfile": str(passfile),
            }
        )
        for d in base.databases
    ]
    return base.model_copy(update={"databases": databases})


def owner(env: Environment, tier: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(env.tier(tier)[0].conninfo(), autocommit=True)


def enqueue(env: Environment, run: str, count: int) -> None:
    with owner(env, "queue") as connection:
        connection.execute("INSERT INTO job_queues (name) VALUES ('email-sending') ON CONFLICT DO NOTHING")
        connection.execute(
            "INSERT INTO jobs (id, queue_name, status, payload, run) SELECT gen_random_uuid(), 'email-sending', 'queued',"
            f" '{{}}', {run} FROM generate_series(1, {count})".encode()
        )


def test_a_lock_wait_fails_and_names_its_blocker(env: Environment) -> None:
    """An application session behind a long lock fails the gate; no wait passes; with no session nothing was seen."""
    begun = gates.start(env)
    assert gates.sample(env, ["database_sessions"], time.time(), begun=begun)[0].verdict == "inconclusive"
    target = env.tier("oltp")[0]
    with owner(env, "oltp") as holder:
        holder.execute("CREATE TABLE IF NOT EXISTS held (id int)")
        holder.execute("GRANT SELECT ON held TO penguin_app")
        with psycopg.connect(
            target.conninfo().replace("user=penguin_rollout", "user=penguin_app"), autocommit=True
        ) as client:
            client.execute("SELECT 1")
            assert gates.sample(env, ["database_sessions"], time.time(), begun=begun)[0].verdict == "pass"
            with psycopg.connect(target.conninfo("rollout-change")) as blocker:
                blocker.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
                waiter = threading.Thread(target=lambda: client.execute("SELECT * FROM held"))
                waiter.start()
                time.sleep(0.8)
                said = gates.sample(env, ["database_sessions"], time.time(), begun=begun)[0]
                blocker.rollback()
            waiter.join(5)
    assert said.verdict == "fail" and "rollout-change" in said.observed


def test_queue_age(env: Environment) -> None:
    """An old backlog that is moved oldest first passes; one that only grows fails once the window is full."""
    enqueue(env, "now() - interval '3 days'", 500)
    begun = gates.start(env)
    assert begun["queue"]["pg-queue-1"]["ready"] == 500
    enqueue(env, "now()", 5)
    time.sleep(0.7)
    ask = lambda: gates.sample(env, ["queue_age"], time.time(), begun=begun)[0]
    assert ask().verdict == "inconclusive"
    time.sleep(1)
    assert ask().verdict == "fail"
    with owner(env, "queue") as connection:
        connection.execute("UPDATE jobs SET status = 'migrated_to_redis' WHERE run < now() - interval '1 day'")
    assert ask().verdict == "pass"
    assert gates.sample(env, ["queue_age"], time.time(), begun={"at": 0})[0].verdict == "inconclusive"


def test_no_replica_passes_and_says_so(env: Environment) -> None:
    """Without a replica the gate passes and says that there is none."""
    said = gates.sample(env, ["replication_lag"], time.time(), begun=gates.start(env))[0]
    assert (said.verdict, said.observed) == ("pass", "no replicas attached")


def test_a_replica_that_is_gone_fails(env: Environment) -> None:
    """A dead replica is not listed any more: it is missed by those of the start, and without these nothing is known."""
    begun = gates.start(env)
    assert begun["replicas"]["pg-oltp-1"] == []
    begun["replicas"]["pg-oltp-1"] = ["standby"]
    said = gates.sample(env, ["replication_lag"], time.time(), begun=begun)[0]
    assert (said.verdict, said.observed) == ("fail", "no longer attached: standby of pg-oltp-1")
    assert gates.sample(env, ["replication_lag"], time.time(), begun={})[0].verdict == "inconclusive"


def test_probes_of_databases(env: Environment) -> None:
    """2 % of failed attempts fail; loopback is no network; a privilege for anybody is found."""
    began = time.time() - 1
    enqueue(env, "now()", 1)
    with owner(env, "queue") as connection:
        connection.execute(
            "INSERT INTO job_logs (id, job_id, status, attempt_number, started, finished) SELECT gen_random_uuid(), j.id,"
            " CASE WHEN n = 1 THEN 'failed' ELSE 'completed' END, n, now(), now()"
            " FROM (SELECT id FROM jobs LIMIT 1) j, generate_series(1, 50) n"
        )
        connection.execute(
            "WITH j AS (INSERT INTO jobs (id, queue_name, payload) VALUES (gen_random_uuid(), 'email-sending',"
            " '{\"fail_times\": 2}') RETURNING id) SELECT count(*) FROM j"
        )
        connection.execute(
            "INSERT INTO job_logs (id, job_id, status, finished) SELECT gen_random_uuid(), id, 'failed', now()"
            " FROM jobs WHERE payload ? 'fail_times'"
        )
    found = judged(env, began, time.time() + 1, "queue_failures", "access_controls", "encryption", "storage_compression")
    rate = found["queue_failures"]
    assert (rate["value"], rate["n"], rate["verdict"]) == (2.0, 50, "fail")
    assert found["encryption"]["verdict"] == "not measured" and "loopback" in found["encryption"]["observed"]
    assert found["storage_compression"]["verdict"] == "not measured"
    assert found["access_controls"]["verdict"] == "pass", found["access_controls"]
    with owner(env, "oltp") as connection:
        connection.execute("GRANT SELECT ON tenants TO PUBLIC")
    found = judged(env, began, time.time() + 1, "access_controls")
    assert found["access_controls"]["verdict"] == "fail"
    assert "anybody has SELECT on tenants" in found["access_controls"]["observed"]
