"""What is read of 007: the probes, the watch that goes on, the metrics, and what phase 3 keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from memorystore import MemoryStore, as_store
from monitored import Place, add
from prometheus_client.parser import text_string_to_metric_families
from road_fakes import begin, context

from rollout.errors import Refused
from rollout.monitoring import jobs, metrics, probes, watch
from rollout.monitoring import look as looks
from rollout.monitoring.watch import Clock
from rollout.road import serving


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
