"""007 on the queue: the dashboard follows the jobs, alerts are raised and resolved once, and a discard keeps the history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from monitored import NAME, OPEN, Place, add, outcomes
from servers import Server, database
from traffic_fakes import environment

from rollout.monitoring import jobs

HEALTH = "SELECT (pending_jobs, queued_jobs, failed_jobs, retried_jobs, finished_in_hour, failed_in_hour, failure_rate)::text"
HEALTH += " FROM {} WHERE queue_name = 'webhook-processing'"


def test_the_dashboard_follows_the_jobs(server: Server, tmp_path: Path) -> None:
    """It reads the authority as found, swapped, taken back, swapped again and contracted, and stands in no change's way."""
    monitored = Place.__new__(Place)
    monitored.server = server
    monitored.env = environment(tmp_path, "127.0.0.1:1").model_copy(
        update={"databases": [database(server, "queue", server.database("queue"), server.port)]}
    )
    first, third = "001_cross_database_integrity", "003_queue_partitioning"
    for status, n in (("queued", 3), ("migrated_to_redis", 1), ("processing", 1), ("completed", 3), ("failed", 1)):
        add(monitored, n, status, attempt_count="1" if status == "failed" else "0")
    add(monitored, 1, "queued", run="now() + interval '1 day'")
    wanted = "(6,4,1,1,4,1,0.2500)"
    jobs.run(monitored.env)  # without 007 there is nothing to do
    for name in (first, third, NAME):
        monitored.stage("queue", name, "expand")
    assert monitored.do("queue", "SELECT count(*) FROM queue_health_dashboard") == 10
    walk: list[tuple[str, ...]] = [(third, "swap"), (NAME, "swap"), (NAME, "revert"), (third, "revert", "compare")]
    walk += [(third, "expand", "swap"), (first, "contract"), (third, "contract"), (NAME, "contract")]
    for step in [(), *walk]:
        if step:
            monitored.stage("queue", *step)
        assert monitored.do("queue", HEALTH.format("queue_health()")) == wanted, step
        assert outcomes(jobs.run(monitored.env, force=True))["queue", "queue_health_dashboard"] == "done", step
        assert monitored.do("queue", HEALTH.format("queue_health_dashboard")) == wanted, step
    assert monitored.do("queue", "SELECT to_regclass('v2.jobs')") is None
    assert monitored.do("queue", "SELECT avg_queue_age_seconds BETWEEN 0 AND 600 FROM queue_health() WHERE pending_jobs > 0")
    add(monitored, 2, "queued", "webhook-processing", run="now() - interval '1 hour'")
    assert monitored.do("queue", "SELECT avg_queue_age_seconds > 0 FROM queue_health() WHERE pending_jobs > 0")


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
