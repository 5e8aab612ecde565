"""Gates: questions with three answers, of which only `pass` is a yes. No data, NaN, an exception: `inconclusive`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from rollout import accesslog, samples
from rollout.environment import Environment
from rollout.haproxy import Client

Value = Literal["pass", "fail", "inconclusive"]
POLL_SECONDS = 1.0
POLL_SHARE = 5  # a poll is followed by a rest of at least this many times its own length


@dataclass(frozen=True)
class Verdict:
    """What a gate says: the value, what was observed, the limit (both with units) and JSON-native facts behind them."""

    name: str
    verdict: Value
    observed: str
    limit: str
    page: str
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-native values."""
        return asdict(self)


@dataclass
class Colour:
    """The requests of one colour in a window: durations (ms) of those that were answered, and how many failed."""

    n: int = 0
    failed: int = 0
    answered: list[tuple[int, int]] = field(default_factory=list)  # (began, epoch ms; took, ms)

    @cached_property
    def ordered(self) -> list[int]:
        """Durations in ascending order, ms."""
        return sorted(took for _, took in self.answered)

    def facts(self) -> dict[str, Any]:
        """Return counts and quantiles with their upper bounds, as a later window without this colour compares with."""
        shown: dict[str, Any] = {"n": self.n, "failed": self.failed, "answered": len(self.ordered)}
        if self.ordered:
            shown["quantiles_ms"] = {str(q): samples.quantile(self.ordered, q) for q in (0.5, 0.9, 0.95, 0.99)}
            shown["bounds_ms"] = {str(q): samples.quantile_upper(self.ordered, q) for q in (0.9, 0.95, 0.99)}
        return shown


@dataclass
class Window:
    """What the gates look at: requests that began in [since, until) (epoch seconds), and how things were at the start.

    `start`: what `start` returned; `baseline`: blue's facts from an earlier window (`baseline_of`), by gate name.
    """

    environment: Environment
    since: float
    until: float
    start: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] | None = None

    @cached_property
    def colours(self) -> dict[str, Colour]:
        """Requests by colour, read once; requests that no server got (`<NOSRV>`) count as colour `none`."""
        of = {a.haproxy_server: a.colour for a in self.environment.applications}
        found = {"blue": Colour(), "green": Colour(), "none": Colour()}
        for entry in accesslog.read(self.environment.load_balancer.log, self.since, self.until):
            colour = found[of.get(entry.server, "none")]
            colour.n += 1
            if entry.failed:
                colour.failed += 1
            elif entry.total_ms >= 0:
                colour.answered.append((entry.t, entry.total_ms))
        return found


Gate = Callable[[Environment, Window], Verdict]


def registry() -> dict[str, Gate]:
    """Return every gate by name."""
    from rollout import gates_databases, gates_traffic

    return {
        "error_rate": gates_traffic.error_rate,
        "latency_p99": gates_traffic.latency_p99,
        "database_sessions": gates_databases.database_sessions,
        "queue_age": gates_databases.queue_age,
        "replication_lag": gates_databases.replication_lag,
    }


def page(name: str) -> str:
    """Return the runbook page of a gate."""
    return f"runbooks/gates/{name}.md"


def judge(name: str, gate: Gate, environment: Environment, window: Window) -> Verdict:
    """Ask a gate and never trust a failure to answer: an exception, a non-finite or foreign fact is inconclusive."""
    try:
        said = gate(environment, window)
        json.dumps(said.to_dict(), allow_nan=False)
        if said.verdict not in ("pass", "fail", "inconclusive"):
            raise ValueError(f"the gate said {said.verdict!r}")
        return said
    except Exception as error:  # noqa: BLE001  whatever the reason, an unanswered gate is not a pass
        first = (str(error).splitlines() or [""])[0][:300]
        return Verdict(
            name, "inconclusive", f"could not be measured: {type(error).__name__} {first}".strip(), "", page(name)
        )


def worst(verdicts: Iterable[Verdict]) -> Value:
    """Return the decision: fail before inconclusive before pass; no verdicts at all is inconclusive."""
    values = {v.verdict for v in verdicts}
    if "fail" in values:
        return "fail"
    return "pass" if values == {"pass"} else "inconclusive"


def start(environment: Environment) -> dict[str, Any]:
    """Return what must be known from the start of a window: balancer counters, queue, replicas. What fails is left out."""
    from rollout import gates_databases

    begun: dict[str, Any] = {"at": time.time()}
    for key, measure in (
        ("retries", retries),
        ("queue", gates_databases.queue_state),
        ("replicas", gates_databases.replicas),
    ):
        try:
            begun[key] = measure(environment)
        except Exception as error:  # noqa: BLE001  the gate that needs it will say that it is missing
            begun[f"{key}_missing"] = f"{type(error).__name__} {error}"[:300]
    return begun


def retries(environment: Environment) -> dict[str, int]:
    """Return how often HAProxy tried again or elsewhere after each server, since its start: failures nobody saw."""
    return {name: s.wretr + s.wredis for name, s in Client.of(environment).servers().items()}


def baseline_of(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Return blue's facts by gate, to compare green with once blue has no traffic (cutover)."""
    return {v.name: v.facts["blue"] for v in verdicts if v.facts.get("blue", {}).get("n")}


def sample(
    environment: Environment,
    names: Iterable[str],
    since: float,
    *,
    begun: Mapping[str, Any],
    baseline: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Ask the gates once about the window from `since` (epoch seconds) to now."""
    window = Window(environment, since, time.time(), begun, baseline)
    known = registry()
    return [judge(name, known[name], environment, window) for name in names]


def evaluate(
    environment: Environment,
    names: Iterable[str],
    since: float,
    *,
    begun: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
    on_sample: Callable[[list[Verdict]], None] | None = None,
) -> list[Verdict]:
    """Ask until the window is full and all pass, one fails, or the deadline has come; `worst` of the result decides.

    `since` (epoch seconds) is when the shift ended. A fail returns at once. Limits: gate_window_seconds, and
    gate_deadline_seconds from now. After a resume the window reaches back no further than the deadline is long.
    """
    wanted, settings = list(names), environment.settings
    begun = start(environment) if begun is None else begun
    end = time.monotonic() + settings.gate_deadline_seconds
    while True:
        asked, now = time.monotonic(), time.time()
        reach = max(since, now - settings.gate_deadline_seconds)
        verdicts = sample(environment, wanted, reach, begun=begun, baseline=baseline)
        if on_sample:
            on_sample(verdicts)
        decision = worst(verdicts)
        full = now - since >= settings.gate_window_seconds
        if decision == "fail" or (full and decision == "pass") or time.monotonic() >= end:
            return _not_before_full(verdicts, full, settings.gate_window_seconds)
        rest = max(POLL_SECONDS, POLL_SHARE * (time.monotonic() - asked))
        time.sleep(max(0.0, min(rest, end - time.monotonic())))


def watch(
    environment: Environment,
    seconds: float,
    on_sample: Callable[[list[Verdict]], None],
    *,
    names: Iterable[str] | None = None,
    begun: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
) -> list[Verdict]:
    """Evaluate window after window for `seconds` and stop at the first fail; return the last verdicts.

    Each window has a start of its own, but for the replicas: those of the first (of `begun`) have to last throughout.
    An inconclusive window does not stop the watch (a quiet night has few requests); the last one must pass to count.
    """
    wanted = list(registry() if names is None else names)
    first = start(environment) if begun is None else begun
    kept = {key: first[key] for key in ("replicas", "replicas_missing") if key in first}
    end = time.monotonic() + seconds
    while True:
        verdicts = evaluate(environment, wanted, time.time(), begun=start(environment) | kept, baseline=baseline)
        on_sample(verdicts)
        if worst(verdicts) == "fail" or time.monotonic() >= end:
            return verdicts


def _not_before_full(verdicts: list[Verdict], full: bool, seconds: float) -> list[Verdict]:
    """Let no pass over less than the whole window be one (only when the deadline is shorter than the window)."""
    if full or worst(verdicts) == "fail":
        return verdicts
    return [
        Verdict(
            v.name,
            "inconclusive",
            f"the deadline came before the window was full; so far {v.observed}",
            f"{seconds:g} s",
            v.page,
            v.facts,
        )
        if v.verdict == "pass"
        else v
        for v in verdicts
    ]


def finite(value: float) -> float:
    """Return a measured number, or raise ValueError when it is not one."""
    if not math.isfinite(value):
        raise ValueError(f"measured {value}")
    return value
