"""The gates on requests: green against blue over the same window, or against blue's last one at cutover.

roundrobin deals requests out in turn, so both colours get the same mix of paths at the same moments. A verdict that
steps traffic back needs evidence (p < 0.001, because the gate looks every second and must not be wrong once in a
hundred looks), not just a bad-looking number; a bad-looking number without evidence is inconclusive and waits.
"""

from __future__ import annotations

from typing import Any

from rollout import gates, samples
from rollout.environment import Environment
from rollout.gates import Colour, Verdict, Window

CHANCE = 0.001
SPREAD_SECONDS = 3  # slow requests of one hiccup share a second; a slow release has them in many


def error_rate(environment: Environment, window: Window) -> Verdict:
    """Share of green's requests that failed, with those that HAProxy hid by trying again: limit, and against blue."""
    settings = environment.settings
    green, blue = window.colours["green"], _blue(window, "error_rate")
    hidden = _hidden(environment, window)
    n, failed = green.n + hidden, green.failed + hidden
    limit = settings.gate_error_rate_max
    facts: dict[str, Any] = {
        "green": green.facts(),
        "blue": blue,
        "retried": hidden,
        "unserved": window.colours["none"].failed,
        "since": window.since,
        "until": window.until,
    }
    shown_limit = f"{limit:.3%} of at least {settings.gate_samples_min} requests, and not worse than blue"

    def say(value: gates.Value, observed: str) -> Verdict:
        return Verdict("error_rate", value, observed, shown_limit, gates.page("error_rate"), facts)

    if not n:
        return say("inconclusive", "no request reached green")
    rate = failed / n
    blue_rate = blue["failed"] / blue["n"] if blue.get("n") else None
    told = f"green {rate:.3%} ({failed} of {n})"
    told += f", blue {blue_rate:.3%} ({blue['failed']} of {blue['n']})" if blue_rate is not None else ", blue unknown"
    over = rate > limit and (n >= settings.gate_samples_min or samples.binomial_tail(failed, n, limit) < CHANCE)
    if over and blue_rate is not None and blue_rate > limit and blue_rate >= rate:
        return say("inconclusive", told + ": blue fails as much, so this is not green's doing")
    if over:
        return say("fail", told)
    if blue_rate is not None and rate > blue_rate:
        # given all failures, chance would share them out as the requests are shared out
        chance = samples.binomial_tail(failed, failed + blue["failed"], n / (n + blue["n"]))
        facts["chance"] = chance
        if chance < CHANCE:
            return say("fail", f"{told}: within the limit, yet worse than blue (by chance with p = {chance:.1e})")
    if n < settings.gate_samples_min:
        return say("inconclusive", f"{told}: too few requests")
    if blue_rate is None or blue["n"] < settings.gate_samples_min:
        return say("inconclusive", f"{told}: too few requests of blue to compare with")
    return say("pass", told)


def latency_p99(environment: Environment, window: Window) -> Verdict:
    """Green's p99 against blue's (p95 or p90 when the samples support no more); fails beyond both ratio and slack."""
    settings = environment.settings
    green, blue = window.colours["green"], _blue(window, "latency_p99")
    ratio, slack = settings.gate_latency_ratio_max, settings.gate_latency_slack_ms
    facts: dict[str, Any] = {"green": green.facts(), "blue": blue, "since": window.since, "until": window.until}
    shown_limit = f"{ratio:g}x blue and {slack:g} ms above it"

    def say(value: gates.Value, observed: str) -> Verdict:
        return Verdict("latency_p99", value, observed, shown_limit, gates.page("latency_p99"), facts)

    counts = len(green.ordered), int(blue.get("answered", 0))
    q = samples.supported_quantile(min(counts))
    if min(counts) < settings.gate_samples_min or q is None:
        return say(
            "inconclusive",
            f"too few answers (green {counts[0]}, blue {counts[1]}; {settings.gate_samples_min} of each needed)",
        )
    green_ms, blue_ms = samples.quantile(green.ordered, q), float(blue["quantiles_ms"][str(q)])
    allowed = max(ratio * blue_ms, blue_ms + slack)
    told = f"p{100 * q:g}: green {green_ms:g} ms, blue {blue_ms:g} ms (n = {counts[0]} and {counts[1]})"
    if green_ms <= allowed:
        return say("pass", told)
    bound = float(blue["bounds_ms"][str(q)])
    sure = max(ratio * bound, bound + slack)
    slow = [began for began, took in green.answered if took > sure]
    chance = samples.binomial_tail(len(slow), counts[0], 1 - q)
    seconds = len({began // 1000 for began in slow})
    facts |= {"quantile": q, "slower_than_ms": sure, "slow": len(slow), "slow_in_seconds": seconds, "chance": chance}
    if chance < CHANCE and seconds >= SPREAD_SECONDS:
        return say("fail", f"{told}: {len(slow)} of green took over {sure:g} ms, by chance with p = {chance:.1e}")
    return say(
        "inconclusive",
        f"{told}: over the limit, but {len(slow)} slow requests in {seconds} s prove nothing yet (p = {chance:.2g})",
    )


def _blue(window: Window, name: str) -> dict[str, Any]:
    """Blue's facts in this window, or those of its last recorded one when it has no traffic any more."""
    here: Colour = window.colours["blue"]
    if here.n or window.baseline is None:
        return here.facts()
    return {**dict(window.baseline.get(name, {})), "recorded_earlier": True}


def _hidden(environment: Environment, window: Window) -> int:
    """Count what HAProxy tried again or elsewhere after green since the window's start."""
    before = window.start.get("retries")
    if before is None:
        raise ValueError(
            f"balancer counters at the start are missing: {window.start.get('retries_missing', 'not taken')}"
        )
    now = gates.retries(environment)
    names = [a.haproxy_server for a in environment.colour("green")]
    # a counter that went back means that HAProxy was started anew: then all of it is new
    return sum(now[n] - before[n] if now[n] >= before.get(n, 0) and n in before else now[n] for n in names)
