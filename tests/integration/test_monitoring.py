"""007 and what feeds it, on real databases: one server, the four tiers, all states that the queue's tables go through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from memorystore import MemoryStore, as_store
from prometheus_client.parser import text_string_to_metric_families
from road_fakes import begin, context
from servers import Server, database, superuser
from traffic_fakes import FakeBalancer, environment

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import TIERS, Environment, Settings
from rollout.errors import Refused
from rollout.monitoring import jobs, metrics, probes, watch
from rollout.monitoring import look as looks
from rollout.monitoring.asking import rows
from rollout.monitoring.watch import Clock
from rollout.road import serving

NAME = "007_monitoring"
SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 500, "lock_attempts_max": 50, "chunk_target_ms": 20,
            "blocker_transaction_max_seconds": 1.0}  # fmt: skip
OPEN = "SELECT count(*) FROM queue_alerts WHERE resolved_at IS NULL AND kind = 'pending_jobs'"
VALUES = {"max_pending_jobs": 100, "keep_days": 365}


class Place:
    """Four databases in one server with 007 expanded, a balancer that answers, and a store in memory."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.balancer, self.memory = server, FakeBalancer(), MemoryStore()
        self.store = as_store(self.memory)
        targets = [database(server, tier, server.database(tier), server.port) for tier in TIERS]
        self.env: Environment = environment(folder, self.balancer.address).model_copy(update={"databases": targets})
        with superuser(server.port) as connection:
            connection.execute("CREATE ROLE reader LOGIN IN ROLE pg_monitor")
        for tier in TIERS:
            with self.superuser(tier) as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
            self.stage(tier, NAME, "expand")

    def stage(self, tier: str, name: str, *stages: str) -> None:
        """Take a change through stages."""
        change = next(c for c in changes.plan(tier) if c.name == name)
        with ledger.connect(self.env.tier(tier)[0]) as connection:
            made = Stages(connection, change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS))
            for stage in stages:
                getattr(made, stage)()

    def superuser(self, tier: str) -> psycopg.Connection[Any]:
        """Return a connection that may do anything."""
        return superuser(self.server.port, self.env.tier(tier)[0].dbname)

    def do(self, tier: str, statement: str, user: str = "penguin_rollout") -> Any:
        """Run a statement and return its first value, if it has one."""
        conninfo = self.server.conninfo(self.env.tier(tier)[0].dbname, user)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            row = done.fetchone() if done.description else None
        return row[0] if row else None

    def evaluate(self) -> dict[str, Any]:
        """Renew the dashboard and judge it, under no lock of the pass's."""
        with ledger.connect(self.env.tier("queue")[0]) as connection:
            connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY queue_health_dashboard")
            return rows(connection, "queue_alerts.sql", VALUES)[0]


@pytest.fixture(scope="module")
def place(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All tests of this file share one; each cares for its own rows."""
    made = Place(server, tmp_path_factory.mktemp("monitoring"))
    yield made
    made.balancer.close()
    with superuser(server.port) as connection:
        connection.execute("DROP ROLE reader")


@pytest.fixture
def queue(place: Place) -> Iterator[Place]:
    """The same, with no job and no alert in the queue."""
    place.do("queue", "DELETE FROM jobs; DELETE FROM queue_alerts; UPDATE queue_alert_thresholds SET alert_enabled = true")
    yield place
    place.do("queue", "DELETE FROM jobs; DELETE FROM queue_alerts")


def outcomes(ran: list[jobs.Ran]) -> dict[tuple[str, str], str]:
    """Return the outcome by tier and job."""
    return {(one.tier, one.job): one.outcome for one in ran}


@pytest.mark.parametrize("tier", TIERS)
def test_who_may_look(place: Place, tier: str) -> None:
    """A member of pg_monitor reads, the application may not, and a change that opens a view to it fails its verification."""
    names = ["db_performance_metrics", "query_performance_log", "rollout.monitor_jobs"]
    names += ["queue_health_dashboard", "queue_alerts", "queue_alert_thresholds"] if tier == "queue" else []
    for name in names:
        place.do(tier, f"SELECT count(*) FROM {name}", "reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            place.do(tier, f"SELECT count(*) FROM {name}", "penguin_app")
    place.do(tier, "GRANT SELECT ON db_performance_metrics TO penguin_app")
    with pytest.raises(psycopg.errors.RaiseException, match="db_performance_metrics is open to penguin_app"):
        place.do(tier, "SELECT rollout.verify_monitoring(ARRAY['public.db_performance_metrics'])")
    place.do(tier, "REVOKE SELECT ON db_performance_metrics FROM penguin_app")


def test_the_log_keeps_no_tenant_from_row_security(place: Place) -> None:
    """The table has a tenant_id, so that it is isolated: forced, with a policy; a reader sees what is nobody's."""
    with place.superuser("oltp") as connection:
        connection.execute(
            "INSERT INTO query_performance_log (query_text, execution_time, query_id, calls, total_time, max_time, tenant_id)"
            " SELECT 'of whom', '1 s', 7, 1, '1 s', '1 s', t FROM unnest(ARRAY[NULL, gen_random_uuid()]) AS v (t)"
        )
    assert place.do("oltp", "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = 'query_performance_log'")
    assert place.do("oltp", "SELECT count(*) FROM query_performance_log WHERE query_text = 'of whom'", "reader") == 1


def test_a_pass_is_run_once(place: Place) -> None:
    """Each job is done and recorded; a second pass leaves it out, a third is forced; what is being done is left alone."""
    ran = jobs.run(place.env, force=True)
    wrong = [one for one in ran if one.outcome != ("skipped" if one.job == "campaign_performance_mv" else "done")]
    assert not wrong
    assert {one.why for one in jobs.run(place.env) if one.job == "db_performance_metrics"} <= {"done 0 s ago", "done 1 s ago"}
    with ledger.connect(place.env.tier("oltp")[0]) as busy:
        busy.execute("SELECT pg_advisory_lock(hashtext('rollout.monitor'), hashtext('db_performance_metrics'))")
        again = {(one.tier, one.job): one.why for one in jobs.run(place.env, force=True)}
        assert again["oltp", "db_performance_metrics"] == "another pass is at it"
        assert again["content", "db_performance_metrics"] == ""
        with ledger.connect(place.env.tier("oltp")[0]) as connection:
            assert [j["job"] for j in jobs.standing(connection) if j["running"]] == ["db_performance_metrics"]
    assert outcomes(jobs.run(place.env, force=True))["oltp", "db_performance_metrics"] == "done"
    with ledger.connect(place.env.tier("oltp")[0]) as connection:
        told = {job["job"]: job for job in jobs.standing(connection)}
    assert told["db_performance_metrics"]["runs"] == 2 and told["db_performance_metrics"]["failures"] == 0
    assert told["db_performance_metrics"]["age_seconds"] < 60 and not told["db_performance_metrics"]["running"]


def test_many_passes_at_once_do_each_job_once(place: Place) -> None:
    """Of four passes that begin at one moment each job of each database is done by one, and left out by the others."""
    place.do("content", "UPDATE rollout.monitor_jobs SET last_success = now() - interval '1 day', runs = 0")
    barrier = threading.Barrier(4)

    def go(_: int) -> list[jobs.Ran]:
        barrier.wait()
        return jobs.run(place.env)

    with ThreadPoolExecutor(4) as pool:
        ran = [one for of in pool.map(go, range(4)) for one in of if one.tier == "content"]
    assert sorted(one.job for one in ran if one.outcome == "done") == ["db_performance_metrics", "query_performance_log"]
    assert not [one for one in ran if one.outcome == "failed"]
    assert place.do("content", "SELECT sum(runs) FROM rollout.monitor_jobs") == 2


def test_a_job_whose_session_ends_is_done_by_the_next_pass(place: Place) -> None:
    """The lock goes with its session, so nothing has to be cleared away; what the job had done is not there."""
    with ledger.connect(place.env.tier("olap")[0]) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext('rollout.monitor'), hashtext('db_performance_metrics'))")
        holder.execute("UPDATE rollout.monitor_jobs SET finished_at = NULL WHERE job = 'db_performance_metrics'")
        with place.superuser("olap") as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (holder.info.backend_pid,))
    assert outcomes(jobs.run(place.env, force=True))["olap", "db_performance_metrics"] == "done"


def test_a_failing_job_is_recorded(place: Place) -> None:
    """It is said, counted, does not keep the others from being run, and its last success stays."""
    with place.superuser("oltp") as connection:
        connection.execute("DROP EXTENSION pg_stat_statements")
        ran = outcomes(jobs.run(place.env, force=True))
        connection.execute("CREATE EXTENSION pg_stat_statements")
    assert (ran["oltp", "query_performance_log"], ran["oltp", "db_performance_metrics"]) == ("failed", "done")
    with ledger.connect(place.env.tier("oltp")[0]) as connection:
        (told,) = [job for job in jobs.standing(connection) if job["job"] == "query_performance_log"]
    assert told["failures"] == 1 and "pg_stat_statements" in told["last_error"] and told["last_success"]
    assert outcomes(jobs.run(place.env, force=True))["oltp", "query_performance_log"] == "done"


LITERALS = [
    ("SELECT $1, 'a ''secret'' name', 42, -1.5e-3 FROM t", "SELECT $1, ?, ?, -? FROM t"),
    (r"SELECT E'it\'s', b'01', U&'\0041', N'x'", "SELECT ?, ?, ?, ?"),
    ("SELECT $$a 'b' $ c$$, $q$d$q$ || x", "SELECT ?, ? || x"),
    ("SELECT a /* tenant='7' */ FROM t -- mail x@y.z\nWHERE b$1 = 1", "SELECT a   FROM t  \nWHERE b$1 = ?"),
    ("SET app.current_tenant_id = '3f0e'", "SET app.current_tenant_id = ?"),
    ('SELECT "a ""b"" 7", t7.c8 FROM "x\'y"', 'SELECT "a ""b"" 7", t7.c8 FROM "x\'y"'),
    ("SELECT a/b, a->>'k', '{1}'::int[] , 0x1F", "SELECT a/b, a->>?, ?::int[] , ?"),
    ("CREATE ROLE x PASSWORD 'without an end", "CREATE ROLE x PASSWORD ?"),
    ("SELECT a/*x*/+/**/b - -1", "SELECT a + b - -?"),
]


def test_no_literal_is_logged(place: Place) -> None:
    """Strings of every form, numbers and comments are taken out of whatever pg_stat_statements has; names and parameters stay."""
    table = """
    CREATE TEMP TABLE pg_stat_statements AS
    SELECT 10::oid AS userid, d.oid AS dbid, n AS queryid, true AS toplevel, q AS query, 1::bigint AS calls,
        10.0::float8 AS total_exec_time, 10.0::float8 AS max_exec_time, 1::bigint AS rows, now() AS stats_since
    FROM pg_database AS d, unnest(%s::text[]) WITH ORDINALITY AS u (q, n) WHERE d.datname = current_database()
    """
    with place.superuser("content") as connection, connection.transaction(force_rollback=True):
        connection.execute(table.encode(), ([given for given, _ in LITERALS],))
        connection.execute("CREATE TEMP TABLE pg_stat_statements_info AS SELECT now() AS stats_reset")
        connection.execute("SET search_path = pg_temp, pg_catalog, public")
        connection.execute("DELETE FROM query_performance_log; DELETE FROM rollout.monitor_statements")
        connection.execute((jobs.SQL / "query_log.sql").read_bytes(), {"statements_per_pass": 100, "keep_days": 30})
        told = connection.execute("SELECT query_text FROM query_performance_log ORDER BY query_id").fetchall()
    assert [text for (text,) in told] == [wanted for _, wanted in LITERALS]


def test_the_log_takes_differences(place: Place) -> None:
    """Calls between two passes are logged once, with their mean; after a reset the count begins anew; old rows go."""
    count = "SELECT calls, execution_time > '0', tenant_id, user_id, rows_affected, query_text FROM query_performance_log"
    count += " WHERE query_text LIKE '%marked%' AND role_name = 'penguin_app' ORDER BY id DESC LIMIT 1"

    def calls(times: int) -> Any:
        conninfo = place.server.conninfo(place.env.tier("oltp")[0].dbname, "penguin_app")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for number in range(times):
                connection.execute(f"SELECT count(*) AS marked FROM tenants WHERE name = 'tenant {number}'".encode())
        jobs.run(place.env, force=True)
        with place.superuser("oltp") as connection:
            return connection.execute(count.encode()).fetchone()

    assert calls(3) == (3, True, None, None, 3, "SELECT count(*) AS marked FROM tenants WHERE name = $1")
    assert calls(2)[0] == 2
    with place.superuser("oltp") as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
    assert calls(5)[0] == 5
    with place.superuser("oltp") as connection:
        ours = "query_performance_log WHERE query_text LIKE '%marked%'"
        before = connection.execute(f"SELECT count(*) FROM {ours}".encode()).fetchone()
        connection.execute("UPDATE query_performance_log SET created_at = created_at - interval '31 days'")
    jobs.run(place.env, force=True)
    assert before == (3,)
    assert place.do("oltp", f"SELECT count(*) FROM {ours} AND created_at < now() - interval '1 day'") == 0


def add(place: Place, n: int, status: str = "queued", queue_name: str = "webhook-processing", **more: str) -> None:
    """Put jobs into a queue, under the names that every client has at every stage."""
    columns = {"queue_name": f"'{queue_name}'", "status": f"'{status}'", "payload": "'{}'", **more}
    names, values = ", ".join(columns), ", ".join(columns.values())
    place.do("queue", f"INSERT INTO public.jobs ({names}) SELECT {values} FROM generate_series(1, {n})")


HEALTH = "SELECT (pending_jobs, queued_jobs, failed_jobs, retried_jobs, finished_in_hour, failed_in_hour, failure_rate)::text"
HEALTH += " FROM {} WHERE queue_name = 'webhook-processing'"


def test_the_dashboard_follows_the_jobs(server: Server, tmp_path: Path) -> None:
    """It reads the authority as found, swapped, taken back, swapped again and contracted, and stands in no change's way."""
    place = Place.__new__(Place)
    place.server = server
    place.env = environment(tmp_path, "127.0.0.1:1").model_copy(
        update={"databases": [database(server, "queue", server.database("queue"), server.port)]}
    )
    first, third = "001_cross_database_integrity", "003_queue_partitioning"
    for status, n in (("queued", 3), ("migrated_to_redis", 1), ("processing", 1), ("completed", 3), ("failed", 1)):
        add(place, n, status, attempt_count="1" if status == "failed" else "0")
    add(place, 1, "queued", run="now() + interval '1 day'")
    wanted = "(6,4,1,1,4,1,0.2500)"
    jobs.run(place.env)  # without 007 there is nothing to do
    for name in (first, third, NAME):
        place.stage("queue", name, "expand")
    assert place.do("queue", "SELECT count(*) FROM queue_health_dashboard") == 10
    walk: list[tuple[str, ...]] = [(third, "swap"), (NAME, "swap"), (NAME, "revert"), (third, "revert", "compare")]
    walk += [(third, "expand", "swap"), (first, "contract"), (third, "contract"), (NAME, "contract")]
    for step in [(), *walk]:
        if step:
            place.stage("queue", *step)
        assert place.do("queue", HEALTH.format("queue_health()")) == wanted, step
        assert outcomes(jobs.run(place.env, force=True))["queue", "queue_health_dashboard"] == "done", step
        assert place.do("queue", HEALTH.format("queue_health_dashboard")) == wanted, step
    assert place.do("queue", "SELECT to_regclass('v2.jobs')") is None
    assert place.do("queue", "SELECT avg_queue_age_seconds BETWEEN 0 AND 600 FROM queue_health() WHERE pending_jobs > 0")
    add(place, 2, "queued", "webhook-processing", run="now() - interval '1 hour'")
    assert place.do("queue", "SELECT avg_queue_age_seconds > 0 FROM queue_health() WHERE pending_jobs > 0")


def test_jobs_without_a_queue_are_counted(queue: Place) -> None:
    """queue_name may be null as found: such jobs have a row of their own, and every queue has one, also an empty one."""
    queue.do("queue", "INSERT INTO jobs (payload) VALUES ('{}')")
    assert queue.do("queue", "SELECT pending_jobs FROM queue_health() WHERE queue_name = '(no queue)'") == 1
    assert queue.do("queue", "SELECT count(*) FROM queue_health()") == 11


def test_thresholds_are_those_that_were_found(queue: Place) -> None:
    """More than 100 jobs for every queue; the column's default is the seed's; a new queue gets a row with the next pass."""
    told = "SELECT string_agg(DISTINCT (max_pending_jobs, max_avg_age_seconds, max_failure_rate, alert_enabled)::text, '') FROM"
    assert queue.do("queue", f"{told} queue_alert_thresholds") == "(100,300,0.05,t)"
    assert queue.do("queue", "INSERT INTO queue_alert_thresholds VALUES ('other') RETURNING max_pending_jobs") == 1000
    queue.do("queue", "DELETE FROM queue_alert_thresholds WHERE queue_name = 'other'")
    queue.do("queue", "INSERT INTO job_queues (name) VALUES ('late')")
    queue.evaluate()
    assert queue.do("queue", "SELECT max_pending_jobs FROM queue_alert_thresholds WHERE queue_name = 'late'") == 100
    queue.do("queue", "DELETE FROM job_queues WHERE name = 'late'; DELETE FROM queue_alert_thresholds WHERE queue_name = 'late'")


def test_an_alert_is_raised_once_and_resolved_once(queue: Place) -> None:
    """At the limit none; above it one, by whichever of eight evaluators at one moment; below it resolved by one of eight."""
    add(queue, 100)
    assert queue.evaluate()["raised"] == 0
    add(queue, 1)

    def together(act: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        barrier = threading.Barrier(8)

        def go(_: int) -> dict[str, Any]:
            barrier.wait()
            return act()

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(go, range(8)))

    assert sum(one["raised"] for one in together(queue.evaluate)) == 1
    assert queue.do("queue", OPEN) == 1
    assert queue.evaluate() == {"raised": 0, "resolved": 0, "expired": 0}
    queue.do("queue", "DELETE FROM jobs")
    assert sum(one["resolved"] for one in together(queue.evaluate)) == 1
    kept = "SELECT (kind, observed, threshold, resolved_observed, resolved_at >= raised_at)::text FROM queue_alerts"
    assert queue.do("queue", kept) == "(pending_jobs,101,100,0,t)"
    add(queue, 101)
    assert queue.evaluate()["raised"] == 1
    queue.do("queue", "UPDATE queue_alert_thresholds SET alert_enabled = false WHERE queue_name = 'webhook-processing'")
    assert queue.evaluate()["resolved"] == 1
    queue.do("queue", "UPDATE queue_alerts SET resolved_at = resolved_at - interval '366 days'")
    assert queue.evaluate()["expired"] == 2


def test_age_and_failures_raise_alerts_of_their_own(queue: Place) -> None:
    """A job that has been due for longer than 300 s, and more than 5 % of an hour's jobs that failed for good."""
    add(queue, 1, created="now() - interval '301 seconds'")
    add(queue, 94, "completed")
    add(queue, 6, "failed")
    assert queue.evaluate()["raised"] == 2
    assert queue.do("queue", "SELECT string_agg(kind, ' ' ORDER BY kind) FROM queue_alerts") == "average_age failure_rate"


def test_every_probe_reads(queue: Place) -> None:
    """Each probe of each tier says something; thresholds decide; what is away is inconclusive and, of a critical one, open."""
    queue.do("content", "INSERT INTO email_content (storage_key, tenant_id, raw_size_bytes, compressed_size_bytes)"
             " SELECT 'monitored/' || n, gen_random_uuid(), 1000, 600 FROM generate_series(1, 20) AS n")  # fmt: skip
    add(queue, 101)
    jobs.run(queue.env, force=True)
    told = {(one.tier, one.probe): one for one in probes.take(queue.env)}
    assert (told["content", "compression"].value, told["content", "compression"].verdict) == (40, "fail")
    assert (told["queue", "backlog"].value, told["queue", "backlog"].verdict) == (101, "fail")
    assert (told["oltp", "connections"].value, told["oltp", "connections"].verdict) == (0, "pass")
    assert told["olap", "performance_view_age"].verdict == "inconclusive"
    assert "campaign_performance_freshness" in told["olap", "performance_view_age"].detail
    assert told["oltp", "cache_hits"].verdict == "shown" and 0 < (told["oltp", "cache_hits"].value or 0) <= 100
    assert {one.verdict for key, one in told.items() if key[1] in ("staleness", "longest_running")} == {"pass", "shown"}
    held = [psycopg.connect(queue.server.conninfo(queue.env.tier("olap")[0].dbname, "penguin_app")) for _ in range(28)]
    told = {(one.tier, one.probe): one for one in probes.take(queue.env)}
    for connection in held:
        connection.close()
    # 15 in each of the two processes of a colour
    assert (told["olap", "connections"].value, told["olap", "connections"].verdict) == (pytest.approx(93.333), "fail")
    away = queue.env.tier("oltp")[0].model_copy(update={"port": 1})
    env = queue.env.model_copy(update={"databases": [away, *queue.env.databases[1:]]})
    seen = looks.look(env, queue.store)
    assert [line for line in seen["open"] if "sessions of the application" in line and "not measured" in line]
    assert {one.outcome for one in jobs.run(env) if one.tier == "oltp"} == {"failed"}
    assert [a["severity"] for a in seen["alerts"] if a["kind"] == "pending_jobs"] == ["high"]


class Moved:
    """A clock that a test moves: sleeping takes no time, and a look a second."""

    def __init__(self, memory: MemoryStore) -> None:
        self.now, self.memory, self.slept = 0.0, memory, list[float]()

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.memory.advance(seconds)


def test_a_watch_goes_on_where_it_was_left(queue: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after two of four minutes, away for an hour: the same command watches the other two, and counts the gap."""
    monkeypatch.setattr(looks.gates, "start", lambda _: {})
    memory = MemoryStore()
    moved, seen, hours = Moved(memory), list[dict[str, Any]](), 4 / 60

    def show(one: dict[str, Any]) -> None:
        seen.append(one)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.watch(queue.env, as_store(memory), hours, show, moved.clock())
    assert [one["watch"]["watched_seconds"] for one in seen] == [0, 60, 120]
    with pytest.raises(Refused, match="watches already"):
        watch.watch(queue.env, as_store(memory), hours, show, moved.clock())
    memory.advance(3600)
    last = watch.watch(queue.env, as_store(memory), hours, seen.append, moved.clock())
    assert (last["watch"]["watched_seconds"], last["watch"]["finished"], last["watch"]["looks"]) == (240, True, 6)
    assert (last["watch"]["gaps"], last["watch"]["gap_seconds"]) == (1, 3600)
    assert moved.slept == [60, 60, 60, 60]
    again = watch.watch(queue.env, as_store(memory), 1 / 60, seen.append, moved.clock())
    assert (again["watch"]["watched_seconds"], again["watch"]["gaps"]) == (60, 0)


def test_metrics_are_whole_and_parse(queue: Place, tmp_path: Path) -> None:
    """The file appears whole, parses, and has what was asked for: stages, rejects, alerts, ages, probes, traffic."""
    add(queue, 101)
    jobs.run(queue.env, force=True)
    metrics.write(queue.env, queue.store, tmp_path / "rollout.prom")
    assert [path.name for path in tmp_path.iterdir()] == ["rollout.prom"]
    samples = [s for family in text_string_to_metric_families((tmp_path / "rollout.prom").read_text()) for s in family.samples]
    value = {(s.name.removeprefix("penguin_rollout_"), *sorted(s.labels.values())): s.value for s in samples}
    assert value["change_stage", "007_monitoring", "compared", "pg-queue-1", "queue"] == 1
    assert value["reject_rows", "007_monitoring", "pg-queue-1", "queue"] == 0
    assert value["open_alerts", "high", "pending_jobs"] == 1 and value["open_alerts", "average_age", "medium"] == 0
    assert value["alert_observed", "high", "pending_jobs", "pg-queue-1", "webhook-processing"] == 101
    assert value["refresh_age_seconds", "db_performance_metrics", "pg-olap-1"] < 60
    assert value["green_traffic_ratio",] == 0
    assert value["probe_verdict", "backlog", "fail", "high", "pg-queue-1", "queue"] == 1


def test_phase_3_keeps_what_was_read(queue: Place, tmp_path: Path) -> None:
    """The step does a pass, whenever the last one was, and leaves a fact of the run for the checklist."""
    add(queue, 101)
    memory = MemoryStore()
    made = context(memory, queue.env, tmp_path, begin(memory, "1"))
    facts = serving.refresh_monitoring(made, "localhost")
    assert facts["say"].startswith("10 of 11 jobs done; ") and facts["say"].endswith("1 alerts open")
    kept = made.fact("monitoring")
    assert {probe["verdict"] for probe in kept["probes"] if probe["probe"] == "backlog"} == {"fail"}
    assert [(alert["queue"], alert["kind"]) for alert in kept["alerts"]] == [("webhook-processing", "pending_jobs")]
    assert kept["token"] == made.request.token


def test_a_discard_keeps_the_history(queue: Place) -> None:
    """What can be made anew goes; the log, the alerts and what people have set stay, and the next expand goes on with them."""
    add(queue, 101)
    jobs.run(queue.env, force=True)
    queue.do("queue", "UPDATE queue_alert_thresholds SET max_pending_jobs = 7 WHERE queue_name = 'analytics-daily'")
    queue.stage("queue", NAME, "discard")
    goes = ["db_performance_metrics", "queue_health_dashboard", "rollout.monitor_jobs", "rollout.monitor_statements"]
    stays = ["query_performance_log", "queue_alerts", "queue_alert_thresholds"]
    found = [name for name in goes + stays if queue.do("queue", f"SELECT to_regclass('{name}') IS NOT NULL")]
    assert found == stays
    assert queue.do("queue", "SELECT count(*) FROM pg_proc WHERE proname IN ('queue_health', 'verify_monitoring')") == 0
    assert {one.outcome for one in jobs.run(queue.env) if one.tier == "queue"} == {"skipped"}
    queue.stage("queue", NAME, "expand")
    assert queue.do("queue", OPEN) == 1
    assert queue.do("queue", "SELECT max_pending_jobs FROM queue_alert_thresholds WHERE queue_name = 'analytics-daily'") == 7
    queue.do("queue", "UPDATE queue_alert_thresholds SET max_pending_jobs = 100")
