"""What 007 keeps in each database: who may look, passes that are run once, and the log of statements without literals."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from monitored import Place, outcomes

from rollout.engine import ledger
from rollout.environment import TIERS
from rollout.monitoring import jobs


@pytest.mark.parametrize("tier", TIERS)
def test_who_may_look(monitored: Place, tier: str) -> None:
    """A member of pg_monitor reads, the application may not, and a change that opens a view to it fails its verification."""
    names = ["db_performance_metrics", "query_performance_log", "rollout.monitor_jobs"]
    names += ["queue_health_dashboard", "queue_alerts", "queue_alert_thresholds"] if tier == "queue" else []
    for name in names:
        monitored.do(tier, f"SELECT count(*) FROM {name}", "reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            monitored.do(tier, f"SELECT count(*) FROM {name}", "penguin_app")
    monitored.do(tier, "GRANT SELECT ON db_performance_metrics TO penguin_app")
    with pytest.raises(psycopg.errors.RaiseException, match="db_performance_metrics is open to penguin_app"):
        monitored.do(tier, "SELECT rollout.verify_monitoring(ARRAY['public.db_performance_metrics'])")
    monitored.do(tier, "REVOKE SELECT ON db_performance_metrics FROM penguin_app")


def test_the_log_keeps_no_tenant_from_row_security(monitored: Place) -> None:
    """The table has a tenant_id, so that it is isolated: forced, with a policy; a reader sees what is nobody's."""
    with monitored.superuser("oltp") as connection:
        connection.execute(
            "INSERT INTO query_performance_log (query_text, execution_time, query_id, calls, total_time, max_time, tenant_id)"
            " SELECT 'of whom', '1 s', 7, 1, '1 s', '1 s', t FROM unnest(ARRAY[NULL, gen_random_uuid()]) AS v (t)"
        )
    forced = "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = 'query_performance_log'"
    assert monitored.do("oltp", forced)
    assert monitored.do("oltp", "SELECT count(*) FROM query_performance_log WHERE query_text = 'of whom'", "reader") == 1


def test_a_pass_is_run_once(monitored: Place) -> None:
    """Each job is done and recorded; a second pass leaves it out, a third is forced; what is being done is left alone."""
    ran = jobs.run(monitored.env, force=True)
    wrong = [one for one in ran if one.outcome != ("skipped" if one.job == "campaign_performance_mv" else "done")]
    assert not wrong
    assert {one.why for one in jobs.run(monitored.env) if one.job == "db_performance_metrics"} <= {"done 0 s ago", "done 1 s ago"}
    with ledger.connect(monitored.env.tier("oltp")[0]) as busy:
        busy.execute("SELECT pg_advisory_lock(hashtext('rollout.monitor'), hashtext('db_performance_metrics'))")
        again = {(one.tier, one.job): one.why for one in jobs.run(monitored.env, force=True)}
        assert again["oltp", "db_performance_metrics"] == "another pass is at it"
        assert again["content", "db_performance_metrics"] == ""
        with ledger.connect(monitored.env.tier("oltp")[0]) as connection:
            assert [j["job"] for j in jobs.standing(connection) if j["running"]] == ["db_performance_metrics"]
    assert outcomes(jobs.run(monitored.env, force=True))["oltp", "db_performance_metrics"] == "done"
    with ledger.connect(monitored.env.tier("oltp")[0]) as connection:
        told = {job["job"]: job for job in jobs.standing(connection)}
    assert told["db_performance_metrics"]["runs"] == 2 and told["db_performance_metrics"]["failures"] == 0
    assert told["db_performance_metrics"]["age_seconds"] < 60 and not told["db_performance_metrics"]["running"]


def test_many_passes_at_once_do_each_job_once(monitored: Place) -> None:
    """Of four passes that begin at one moment each job of each database is done by one, and left out by the others."""
    monitored.do("content", "UPDATE rollout.monitor_jobs SET last_success = now() - interval '1 day', runs = 0")
    barrier = threading.Barrier(4)

    def go(_: int) -> list[jobs.Ran]:
        barrier.wait()
        return jobs.run(monitored.env)

    with ThreadPoolExecutor(4) as pool:
        ran = [one for of in pool.map(go, range(4)) for one in of if one.tier == "content"]
    assert sorted(one.job for one in ran if one.outcome == "done") == ["db_performance_metrics", "query_performance_log"]
    assert not [one for one in ran if one.outcome == "failed"]
    assert monitored.do("content", "SELECT sum(runs) FROM rollout.monitor_jobs") == 2


def test_a_job_whose_session_ends_is_done_by_the_next_pass(monitored: Place) -> None:
    """The lock goes with its session, so nothing has to be cleared away; what the job had done is not there."""
    with ledger.connect(monitored.env.tier("olap")[0]) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext('rollout.monitor'), hashtext('db_performance_metrics'))")
        holder.execute("UPDATE rollout.monitor_jobs SET finished_at = NULL WHERE job = 'db_performance_metrics'")
        with monitored.superuser("olap") as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (holder.info.backend_pid,))
    assert outcomes(jobs.run(monitored.env, force=True))["olap", "db_performance_metrics"] == "done"


def test_a_failing_job_is_recorded(monitored: Place) -> None:
    """It is said, counted, does not keep the others from being run, and its last success stays."""
    with monitored.superuser("oltp") as connection:
        connection.execute("DROP EXTENSION pg_stat_statements")
        ran = outcomes(jobs.run(monitored.env, force=True))
        connection.execute("CREATE EXTENSION pg_stat_statements")
    assert (ran["oltp", "query_performance_log"], ran["oltp", "db_performance_metrics"]) == ("failed", "done")
    with ledger.connect(monitored.env.tier("oltp")[0]) as connection:
        (told,) = [job for job in jobs.standing(connection) if job["job"] == "query_performance_log"]
    assert told["failures"] == 1 and "pg_stat_statements" in told["last_error"] and told["last_success"]
    assert outcomes(jobs.run(monitored.env, force=True))["oltp", "query_performance_log"] == "done"


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


def test_no_literal_is_logged(monitored: Place) -> None:
    """Strings of every form, numbers and comments are taken out of whatever pg_stat_statements has; names and parameters stay."""
    table = """
    CREATE TEMP TABLE pg_stat_statements AS
    SELECT 10::oid AS userid, d.oid AS dbid, n AS queryid, true AS toplevel, q AS query, 1::bigint AS calls,
        10.0::float8 AS total_exec_time, 10.0::float8 AS max_exec_time, 1::bigint AS rows, now() AS stats_since
    FROM pg_database AS d, unnest(%s::text[]) WITH ORDINALITY AS u (q, n) WHERE d.datname = current_database()
    """
    with monitored.superuser("content") as connection, connection.transaction(force_rollback=True):
        connection.execute(table.encode(), ([given for given, _ in LITERALS],))
        connection.execute("CREATE TEMP TABLE pg_stat_statements_info AS SELECT now() AS stats_reset")
        connection.execute("SET search_path = pg_temp, pg_catalog, public")
        connection.execute("DELETE FROM query_performance_log; DELETE FROM rollout.monitor_statements")
        connection.execute((jobs.SQL / "query_log.sql").read_bytes(), {"statements_per_pass": 100, "keep_days": 30})
        told = connection.execute("SELECT query_text FROM query_performance_log ORDER BY query_id").fetchall()
    assert [text for (text,) in told] == [wanted for _, wanted in LITERALS]


def test_the_log_takes_differences(monitored: Place) -> None:
    """Calls between two passes are logged once, with their mean; after a reset the count begins anew; old rows go."""
    count = "SELECT calls, execution_time > '0', tenant_id, user_id, rows_affected, query_text FROM query_performance_log"
    count += " WHERE query_text LIKE '%marked%' AND role_name = 'penguin_app' ORDER BY id DESC LIMIT 1"

    def calls(times: int) -> Any:
        conninfo = monitored.server.conninfo(monitored.env.tier("oltp")[0].dbname, "penguin_app")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for number in range(times):
                connection.execute(f"SELECT count(*) AS marked FROM tenants WHERE name = 'tenant {number}'".encode())
        jobs.run(monitored.env, force=True)
        with monitored.superuser("oltp") as connection:
            return connection.execute(count.encode()).fetchone()

    assert calls(3) == (3, True, None, None, 3, "SELECT count(*) AS marked FROM tenants WHERE name = $1")
    assert calls(2)[0] == 2
    with monitored.superuser("oltp") as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
    assert calls(5)[0] == 5
    with monitored.superuser("oltp") as connection:
        ours = "query_performance_log WHERE query_text LIKE '%marked%'"
        before = connection.execute(f"SELECT count(*) FROM {ours}".encode()).fetchone()
        connection.execute("UPDATE query_performance_log SET created_at = created_at - interval '31 days'")
    jobs.run(monitored.env, force=True)
    assert before == (3,)
    assert monitored.do("oltp", f"SELECT count(*) FROM {ours} AND created_at < now() - interval '1 day'") == 0
