"""Gates fail closed: pass needs data, a fail needs evidence, and everything else is inconclusive."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic_fakes import FakeBalancer, environment, line

from rollout import gates, gates_traffic, samples
from rollout.environment import Environment
from rollout.gates import Verdict, Window

BEGUN = {"retries": {"green-1": 0, "green-2": 0}, "at": 0.0}


@pytest.fixture
def env(tmp_path: Path) -> Any:
    fake = FakeBalancer()
    yield environment(tmp_path, fake.address)
    fake.close()


def window(
    env: Environment, blue: list[int], green: list[int], *, broken: int = 0, blue_broken: int = 0, spacing_ms: int = 20
) -> Window:
    """Write a log with these durations and return the window over it; the first `broken` requests of a colour are 500s."""
    t0 = int(time.time() * 1000) - 120_000
    with open(env.load_balancer.log, "w") as file:
        for colour, took, bad in (("blue-1", blue, blue_broken), ("green-1", green, broken)):
            file.writelines(
                line(t0 + i * spacing_ms, colour, took=ms, status=500 if i < bad else 200) for i, ms in enumerate(took)
            )
    return Window(env, t0 / 1000 - 1, time.time(), BEGUN)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
)


def _holds_no_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_holds_no_number(v) for v in value.values())
    return isinstance(value, list) and any(_holds_no_number(v) for v in value)


@given(st.dictionaries(st.text(), JSON), st.sampled_from(["pass", "fail", "inconclusive", "ok", "", None, True]))
def test_only_a_clean_pass_passes(facts: dict[str, Any], value: Any) -> None:
    """Whatever a gate returns, `pass` comes out only of `pass` with finite, JSON-native facts."""
    said = gates.judge("g", lambda e, w: Verdict("g", value, "", "", "", facts), None, None)  # type: ignore[arg-type]
    assert (said.verdict == "pass") == (value == "pass" and not _holds_no_number(facts))


@given(st.sampled_from([ValueError, KeyError, TimeoutError, OSError, ZeroDivisionError, AssertionError]), st.text())
def test_an_exception_is_inconclusive(kind: type[Exception], text: str) -> None:
    """A gate that raises, whatever it raises, is inconclusive and says what it raised."""

    def broken(e: Environment, w: Window) -> Verdict:
        raise kind(text)

    said = gates.judge("g", broken, None, None)  # type: ignore[arg-type]
    assert said.verdict == "inconclusive" and kind.__name__ in said.observed


@given(st.lists(st.sampled_from(["pass", "fail", "inconclusive"])))
def test_worst_decides(values: list[Any]) -> None:
    """Fail beats inconclusive beats pass, and nothing is inconclusive."""
    decision = gates.worst(Verdict("g", v, "", "", "") for v in values)
    assert decision == (
        "fail" if "fail" in values else "pass" if values and set(values) == {"pass"} else "inconclusive"
    )


def test_empty_log_and_dead_databases_are_inconclusive(env: Environment) -> None:
    """With no requests and no database every gate of the registry is inconclusive."""
    Path(env.load_balancer.log).write_text("")
    verdicts = gates.sample(env, gates.registry(), time.time() - 5, begun=BEGUN)
    assert {v.verdict for v in verdicts} == {"inconclusive"} and len(verdicts) == 5


def test_error_rate(env: Environment) -> None:
    """Over the limit fails, equal failures of blue are not green's, few samples are inconclusive, clean passes."""
    ask = lambda **k: gates_traffic.error_rate(env, window(env, [5] * 900, [5] * 300, **k)).verdict
    assert ask() == "pass"
    assert ask(broken=10) == "fail"
    assert ask(broken=3) == "pass"
    assert ask(broken=10, blue_broken=60) == "inconclusive"
    assert gates_traffic.error_rate(env, window(env, [5] * 900, [5] * 50)).verdict == "inconclusive"
    assert gates_traffic.error_rate(env, window(env, [5] * 50, [5] * 300)).verdict == "inconclusive"


def test_error_rate_within_limit_but_worse_than_blue_fails(env: Environment) -> None:
    """12 failures of 2,000 are within 1 %, but blue's none in 18,000 make chance no explanation."""
    said = gates_traffic.error_rate(env, window(env, [5] * 18_000, [5] * 2_000, broken=12, spacing_ms=1))
    assert said.verdict == "fail" and "worse than blue" in said.observed


def test_failures_hidden_by_retries_count(env: Environment) -> None:
    """What HAProxy tried again after a green server is green's failure though no client saw it."""
    seen = window(env, [5] * 900, [5] * 300)
    seen.start = {"retries": {"green-1": -20, "green-2": 0}}
    assert gates_traffic.error_rate(env, seen).verdict == "fail"
    seen.start = {}
    assert gates.judge("error_rate", gates_traffic.error_rate, env, seen).verdict == "inconclusive"


def test_latency_fails_on_evidence_only(env: Environment) -> None:
    """A slow tenth of green fails; a single hiccup and a sample too small are inconclusive; ratio alone passes."""
    ask = lambda blue, green: gates_traffic.latency_p99(env, window(env, blue, green)).verdict
    fast = [10] * 900
    assert ask(fast, [10] * 300) == "pass"
    assert ask(fast, ([10] * 9 + [200]) * 30) == "fail"
    assert ask(fast, [10] * 280 + [200] * 20) == "inconclusive"
    assert ask(fast, [30] * 300) == "pass"
    assert ask(fast, [200] * 60) == "inconclusive"


def test_latency_against_recorded_blue(env: Environment) -> None:
    """At cutover blue has no traffic: its last facts stand in, and without them the gate is inconclusive."""
    before = gates_traffic.latency_p99(env, window(env, [10] * 900, [10] * 300))
    alone = window(env, [], [200] * 300)
    assert gates_traffic.latency_p99(env, alone).verdict == "inconclusive"
    alone.baseline = gates.baseline_of([before])
    said = gates_traffic.latency_p99(env, alone)
    assert said.verdict == "fail" and said.facts["blue"]["recorded_earlier"]


def test_same_distribution_rarely_fails(env: Environment) -> None:
    """Green and blue drawn from one heavy-tailed distribution: no fail in 100 windows."""
    rng = random.Random(3)
    draw = lambda n: [int(10 * rng.paretovariate(1.3)) for _ in range(n)]
    assert "fail" not in {gates_traffic.latency_p99(env, window(env, draw(900), draw(150))).verdict for _ in range(100)}


def test_evaluate_waits_for_the_deadline_and_returns_a_fail_at_once(env: Environment) -> None:
    """No data takes the whole deadline and refuses; a failing green does not wait for the window."""
    Path(env.load_balancer.log).write_text("")
    began = time.monotonic()
    verdicts = gates.evaluate(env, ["error_rate", "latency_p99"], time.time())
    assert gates.worst(verdicts) == "inconclusive" and 0.9 <= time.monotonic() - began < 5
    seen = window(env, [5] * 900, [5] * 300, broken=100)
    began = time.monotonic()
    patient = env.model_copy(
        update={"settings": env.settings.model_copy(update={"gate_deadline_seconds": 300, "gate_window_seconds": 200})}
    )
    assert gates.worst(gates.evaluate(patient, ["error_rate"], seen.since)) == "fail"
    assert time.monotonic() - began < 2


def test_binomial_tail_is_the_binomial_tail() -> None:
    """The tail agrees with the sum of exact terms, and survives n of a million."""
    for n, p, k in ((20, 0.3, 9), (20, 0.3, 2), (200, 0.01, 7), (5, 0.5, 5)):
        exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
        assert samples.binomial_tail(k, n, p) == pytest.approx(exact, rel=1e-9)
    assert 0 < samples.binomial_tail(10_500, 1_000_000, 0.01) < 1e-5
    assert samples.binomial_tail(0, 10, 0.1) == 1.0 and samples.binomial_tail(11, 10, 0.1) == 0.0
