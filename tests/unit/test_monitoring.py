"""What monitoring declares, shows and exports; and the files for Prometheus, Grafana and systemd, which name what there is."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from pydantic import ValidationError

from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput
from rollout.monitoring import declaration, metrics, screen
from rollout.monitoring.look import phase_of

FILES = ROOT / "playbooks" / "files" / "monitoring"
PROMTOOL = shutil.which("promtool")
METRIC = re.compile(r"penguin_rollout_\w+")
SEEN: dict[str, Any] = {
    "environment": "sandbox", "observed": "2026-11-22T03:12:00+00:00", "green_percent": 25.0, "traffic_error": "",
    "run": {"run": "2026-11-22T0312Z-7f3a", "operator": "ana", "finalized": False, "rolled_back": False,
            "phases": {"1": "pass", "2": "pass", "3": "running", "finalize": "pending", "rollback": "pending"}},
    "gates": [{"name": "latency_p99", "verdict": "fail", "observed": "green 212 ms", "limit": "1.25x blue"}],
    "probes": [
        {"host": "pg-oltp-1", "tier": "oltp", "probe": "cache_hits", "title": "cache",
         "value": 99.125, "unit": "%", "threshold": None, "worse": "below", "severity": "low", "verdict": "shown", "detail": ""},
        {"host": "pg-olap-1", "tier": "olap", "probe": "connections", "title": "sessions against pools", "value": 93.333,
         "unit": "%", "threshold": 90.0, "worse": "above", "severity": "critical", "verdict": "fail", "detail": "a: 28 of 30"},
        {"host": "pg-queue-1", "tier": "queue", "probe": "backlog", "title": "queued jobs", "value": None, "unit": "jobs",
         "threshold": 100.0, "worse": "above", "severity": "high", "verdict": "inconclusive", "detail": "Failed: away"},
    ],
    "alerts": [{"host": "pg-queue-1", "queue": "email-sending", "kind": "pending_jobs", "title": "jobs not yet done",
                "unit": "jobs", "severity": "high", "observed": 1204.0, "threshold": 100.0, "raised_at": "2026-11-22T03:00Z"}],
    "jobs": [
        {"host": "pg-oltp-1", "job": "db_performance_metrics", "age_seconds": 75.0, "seconds": 0.012, "runs": 3, "failures": 0,
         "last_error": None, "running": False},
        {"host": "pg-olap-1", "job": "campaign_performance_mv", "age_seconds": None, "seconds": None, "runs": 1, "failures": 1,
         "last_error": "no campaign_performance_mv", "running": False},
    ],
    "ran": [], "open": ["sessions against pools on pg-olap-1: 93.333 %"],
    "watch": {"hours": 72.0, "watched_seconds": 7200.0, "left_seconds": 252000.0, "looks": 120, "looks_critical": 1, "gaps": 1,
              "gap_seconds": 600.0, "store_error": ""},
}  # fmt: skip
LEDGERS = [
    {"host": "pg-queue-1", "tier": "queue", "error": "",
     "changes": [{"change": "007_monitoring", "stage": "compared", "rejects": 0}]},
    {"host": "pg-oltp-1", "tier": "oltp", "error": "away", "changes": []},
]  # fmt: skip


def exposition() -> str:
    """Return every metric that there can be."""
    return generate_latest(metrics.fill(SEEN, LEDGERS, stalled_ms=lambda _: {"003_queue_partitioning": 69.5})).decode()


def test_every_tier_has_what_was_found() -> None:
    """The thresholds are the product's own, and each tier's pool is the one that was found."""
    probes = {probe.name: probe for probe in declaration.load().probes}
    pools = {tier: probes["connections"].values_in(tier)["pool_max"] for tier in TIERS}
    assert pools == {"oltp": 50, "content": 25, "queue": 40, "olap": 15}
    full = probes["connections"]
    assert {(full.threshold_in(tier), full.severity_in(tier)) for tier in TIERS} == {(90, "critical")}
    slow = {tier: (probes["slow_statements"].threshold_in(tier), probes["slow_statements"].severity_in(tier)) for tier in TIERS}
    assert slow == {"oltp": (5000, "high"), "content": (200, "medium"), "queue": (None, "high"), "olap": (30000, "medium")}
    assert (probes["compression"].threshold_in("content"), probes["compression"].is_beyond("content", 50)) == (50, False)
    assert probes["compression"].is_beyond("content", 49.9) and not probes["backlog"].is_beyond("queue", 100)
    assert probes["backlog"].is_beyond("queue", 101) and probes["staleness"].is_beyond("olap", 24.1)
    assert not probes["cache_hits"].is_beyond("oltp", 0)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    unit: h\n", "    units: h\n", "probes.*units"),
        ("sql: backlog.sql", "sql: back.sql", "back.sql is no file of sql/"),
        ("sql: query_log.sql", "call: performance_vew", "performance_view"),
        ("sql: query_log.sql", "sql: query_log.sql\n    refresh: public.x", "is one of refresh, sql and call"),
        ("name: backlog", "name: compression", "probe compression stands twice"),
    ],
)
def test_a_typo_is_an_error(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Nothing runs with a declaration that says something else than was meant."""
    text = declaration.FILE.read_text()
    assert old in text
    (tmp_path / "monitoring.yml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValidationError, match=f"(?s){told}"):
        declaration.load(tmp_path / "monitoring.yml")


def test_every_file_is_used() -> None:
    """A file of sql/ that nothing names is not watched, whatever it says."""
    told = "".join(path.read_text() for path in [declaration.FILE, *declaration.FILE.parent.glob("*.py")])
    assert [path.name for path in sorted(declaration.SQL.glob("*.sql")) if path.name not in told] == []


def test_a_look_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdict, run and traffic, the worst probe first, what is open at the end; as JSON one line."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    screen.look(SEEN, as_json=False)
    lines = out.getvalue().splitlines()
    assert lines[0] == "2026-11-22T03:12:00+00:00  sandbox  run 2026-11-22T0312Z-7f3a  phase 3 running  25 % on green"
    assert lines[1] == "watched 2 h of 72 h, 70 h left; 120 looks, 1 with something critical; interrupted 1 times, 10 min in all"
    probes = [line.split()[0] for line in lines if line.startswith("pg-") and "MATERIALIZED" not in line]
    assert probes[:3] == ["pg-olap-1", "pg-queue-1", "pg-oltp-1"]
    assert any("> 90 %" in line and "critical  fail" in line for line in lines)
    assert any(line.startswith("email-sending: jobs not yet done") and "1204 jobs" in line for line in lines)
    assert any(line.startswith("campaign_performance_mv") and "never" in line and "no campaign" in line for line in lines)
    assert lines[-2:] == ["critical: 1", "  sessions against pools on pg-olap-1: 93.333 %"]
    out.truncate(0)
    out.seek(0)
    screen.look(SEEN, as_json=True)
    assert json.loads(out.getvalue()) == SEEN and out.getvalue().count("\n") == 1


@pytest.mark.parametrize(("changed", "told"), [
    ({}, "phase 3 running"), ({"finalized": True}, "finalized"), ({"rolled_back": True}, "rolled back"),
    ({"phases": dict.fromkeys(("1", "2", "3", "finalize", "rollback"), "pending")}, "phase 1 pending"),
])  # fmt: skip
def test_where_a_run_is(changed: dict[str, Any], told: str) -> None:
    """The last phase that has begun, unless the run is over."""
    assert phase_of({**SEEN["run"], **changed}) == told
    assert phase_of(None) == "no run has begun"


def test_metrics_say_what_was_seen() -> None:
    """Ratios and seconds, a 0 for a kind of alert that is not open, and no sample for what could not be asked."""
    lines = exposition().splitlines()
    for wanted in (
        'penguin_rollout_phase_verdict{phase="3",run="2026-11-22T0312Z-7f3a",verdict="running"} 1.0',
        "penguin_rollout_green_traffic_ratio 0.25",
        'penguin_rollout_stalled_seconds{change="003_queue_partitioning"} 0.0695',
        'penguin_rollout_open_alerts{kind="pending_jobs",severity="high"} 1.0',
        'penguin_rollout_open_alerts{kind="average_age",severity="medium"} 0.0',
        'penguin_rollout_database_asked{host="pg-oltp-1",tier="oltp"} 0.0',
        "penguin_rollout_critical_open 1.0",
    ):
        assert wanted in lines
    assert not [line for line in lines if line.startswith("penguin_rollout_probe_value") and "backlog" in line]
    assert not [line for line in lines if line.startswith("penguin_rollout_refresh_age") and "campaign" in line]


def test_stalls_are_summed_from_the_journal(tmp_path: Path) -> None:
    """By change, over all stages and steps of a run, wherever in a change's facts they are; no journal, none."""
    journal = tmp_path / "journal.jsonl"
    changes = [{"change": "a", "expand": {"stalled_ms": 1.5}, "copies": [{"stalled_ms": 2}]}, {"change": "b", "stalled_ms": 4}]
    events = [{"facts": {"step": "expand", "facts": {"changes": changes}}}, {"facts": {"changes": ["a"]}},
              {"facts": {"facts": {"changes": [{"change": "a", "stalled_ms": 8.0}]}}}]  # fmt: skip
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert metrics.stalls(journal) == {"a": 11.5, "b": 4}
    assert metrics.stalls(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize("name", ["metrics.txt", "no/such/folder/m.prom"])
def test_a_wrong_output_is_refused(tmp_path: Path, name: str) -> None:
    """The collector reads *.prom only; what would not be read is not written."""
    with pytest.raises(BadInput):
        metrics.write(None, None, tmp_path / name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["alert-rules.yml", "grafana-dashboard.json"])
def test_only_metrics_that_exist_are_asked(name: str) -> None:
    """A renamed metric would make an alert that never fires and a panel that stays empty."""
    known = {line.split()[2] for line in exposition().splitlines() if line.startswith("# TYPE")}
    asked = set(METRIC.findall((FILES / name).read_text())) - {"penguin_rollout_monitor"}
    assert asked - {"penguin_rollout"} <= known


def test_the_rules_lead_to_pages() -> None:
    """Each alert names a page that exists and a summary."""
    rules = [rule for group in yaml.safe_load((FILES / "alert-rules.yml").read_text())["groups"] for rule in group["rules"]]
    pages = [rule["annotations"]["runbook"].partition("#")[0] for rule in rules]
    assert len(rules) > 5 and all((ROOT / page).is_file() for page in pages)


def test_the_dashboard_is_whole() -> None:
    """Every panel has its own id and place, and a source that can be chosen."""
    board = json.loads((FILES / "grafana-dashboard.json").read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    places = [panel["gridPos"] for panel in panels]
    cells = [(g["x"] + x, g["y"] + y) for g in places for x in range(g["w"]) for y in range(g["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23


def test_the_unit_runs_commands_that_exist() -> None:
    """Both commands of a pass are tasks; of a dollar systemd wants two."""
    text = (FILES / "penguin-rollout-monitor.service").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    script = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$"))[2]
    assert re.findall(r"invoke (\S+)", script) == ["monitor.refresh", "monitor.metrics"]
    subprocess.run(["/bin/sh", "-n", "-c", script], check=True)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)")
def test_promtool_agrees() -> None:
    """Prometheus's own checker reads the rules, and lints the exposition."""
    assert PROMTOOL
    subprocess.run([PROMTOOL, "check", "rules", "--lint-fatal", FILES / "alert-rules.yml"], check=True, capture_output=True)
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=exposition(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
