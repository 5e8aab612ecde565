"""The seed's performance, reliability and scalability targets, measured where that can be done, else said not to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rollout import accesslog
from rollout.environment import Environment
from rollout.gates_databases import ask, live

SAMPLES_MIN = 20


@dataclass(frozen=True)
class Kpi:
    """One target: `value` in `unit` from `n` samples against `target`, or `not measured` (value None) and why."""

    name: str
    value: float | None
    unit: str
    target: str
    n: int
    verdict: Literal["met", "missed", "not measured"]
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the KPI as JSON-native values."""
        return asdict(self)


@dataclass
class _Mean:
    n: int = 0
    total_ms: int = 0


_GROUPS: tuple[tuple[str, float, Callable[[accesslog.Entry], bool]], ...] = (
    ("OLTP response, average", 200, lambda e: e.method == "POST" and e.path == "/campaigns"),
    (
        "content retrieval, average",
        1_000,
        lambda e: e.method == "GET" and e.path.startswith("/messages/") and not e.path.endswith("/thread"),
    ),
    ("analytics dashboards, average", 5_000, lambda e: e.method == "GET" and e.path.startswith("/dashboards/")),
    ("queue processing per job, average", 20_000, lambda e: e.method == "POST" and e.path == "/jobs/work"),
)

_UNMEASURED = (
    ("database CPU utilization", "%", "< 70 %", "the runner is not on the databases' hosts"),
    ("memory within configured limits", "%", "within limits", "the runner is not on the databases' hosts"),
    ("concurrent users", "users", ">= 10000", "needs a load test of that size"),
    ("monthly data growth", "GB", ">= 100 GB", "needs a month of production"),
    ("storage compression", "%", ">= 60 %", "no change of this rollout compresses content"),
    ("uptime", "%", ">= 99.9 %", "needs a longer window than a rollout's watch"),
    ("data integrity", "%", ">= 99.9 %", "the checksums of verify and compare are the evidence, not a share"),
)


def measure(environment: Environment, since: float, until: float) -> list[Kpi]:
    """Measure every KPI over [since, until) (epoch seconds). What cannot be read is `not measured`."""
    return [
        *_requests(environment, since, until),
        *_queue(environment, since, until),
        *(_row_security(environment, tier) for tier in ("oltp", "content", "queue", "olap")),
        *(Kpi(name, None, unit, target, 0, "not measured", why) for name, unit, target, why in _UNMEASURED),
    ]


def _requests(environment: Environment, since: float, until: float) -> list[Kpi]:
    means = [_Mean() for _ in _GROUPS]
    why = ""
    try:
        for entry in accesslog.read(environment.load_balancer.log, since, until):
            for (_, _, belongs), mean in zip(_GROUPS, means, strict=True):
                if not entry.failed and entry.status < 400 and belongs(entry):
                    mean.n += 1
                    mean.total_ms += entry.total_ms
    except Exception as error:  # noqa: BLE001  what was read of a log that cannot be read in full is not a measurement
        why = _why(error)
    return [
        _kpi(name, mean.total_ms / mean.n if mean.n and not why else None, "ms", limit, mean.n, why)
        for (name, limit, _), mean in zip(_GROUPS, means, strict=True)
    ]


def _queue(environment: Environment, since: float, until: float) -> list[Kpi]:
    completed = failed = 0
    why = ""
    try:
        for database in environment.tier("queue"):
            row = ask(database, "kpi_jobs.sql", {"since": since, "until": until})[0]
            completed, failed = completed + int(row["completed"]), failed + int(row["failed"])
    except Exception as error:  # noqa: BLE001  a database that is away leaves the KPI open
        why = _why(error)
    n = completed + failed
    minutes = (until - since) / 60
    rate = 100 * failed / n if n and not why else None
    # throughput is bounded by what the load offers: less than the target then says nothing about what the queue can do
    per_minute = completed / minutes if completed and not why and minutes > 0 else None
    reached = per_minute is not None and per_minute >= 2_000
    short = (
        "" if per_minute is None else f"{per_minute:.0f} a minute were offered and worked; the target needs more load"
    )
    return [
        _kpi("queue failure rate, attempts", rate, "%", 1, n, why),
        Kpi(
            "queue throughput",
            per_minute if reached else None,
            "jobs/min",
            ">= 2000 jobs/min",
            completed,
            "met" if reached else "not measured",
            "" if reached else why or short or "no job was worked in the window",
        ),
    ]


def _row_security(environment: Environment, tier: str) -> Kpi:
    name, target = f"row security coverage, {tier}", "= 100 %"
    try:
        rows = [ask(d, "kpi_rls.sql")[0] for d in live(environment) if d.tier == tier]
    except Exception as error:  # noqa: BLE001  a database that is away leaves the KPI open
        return Kpi(name, None, "%", target, 0, "not measured", _why(error))
    tables, covered = sum(int(r["tables"]) for r in rows), sum(int(r["covered"]) for r in rows)
    if not tables:
        return Kpi(name, None, "%", target, 0, "not measured", "no table with a tenant_id")
    without = ", ".join(sorted({t for r in rows for t in r["uncovered"]}))
    return Kpi(
        name,
        100 * covered / tables,
        "%",
        target,
        tables,
        "met" if covered == tables else "missed",
        f"without: {without}" if without else "",
    )


def _kpi(name: str, value: float | None, unit: str, limit: float, n: int, why: str) -> Kpi:
    target = f"< {limit:g} {unit}"
    if value is None or n < SAMPLES_MIN:
        return Kpi(
            name, None, unit, target, n, "not measured", why or f"{n} samples in the window, {SAMPLES_MIN} needed"
        )
    return Kpi(name, value, unit, target, n, "met" if value < limit else "missed")


def _why(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}"
