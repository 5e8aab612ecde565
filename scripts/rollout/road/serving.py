"""Steps on traffic and releases: ready, deploy, shift behind gates, watch, back to blue, stop."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from rollout import gates, kpis, release, traffic
from rollout.environment import Application
from rollout.errors import Failed, Refused
from rollout.gates import Verdict
from rollout.road.context import Context, Facts, step

ANSWER_SECONDS = 10.0


@step("require_blue")
def require_blue(context: Context, host: str) -> Facts:
    """Refuse unless blue is up and has all the traffic, or part of it after an interruption."""
    split = traffic.split(context.environment)
    for application in context.environment.colour("blue"):
        _answer(application)
    return {"changed": False, "green_percent": split.percent, "say": f"blue answers; {split.percent:g} % on green"}


@step("require_proven_snapshot")
def require_proven_snapshot(context: Context, host: str, before: str = "rollout") -> Facts:
    """Refuse when this run has no restored and compared snapshot, or one older than agreed.

    Past the point of no return it is too late to ask: a half contracted schema would be the worse state.
    """
    state, settings = context.session.state(), context.environment.settings
    if state.no_return is not None:
        return {"changed": False, "say": "past the point of no return; contract goes on"}
    proofs = context.facts("proof")
    finished = state.phases["1"].finished
    if not context.fact("manifest") or not proofs or finished is None:
        raise Refused(
            "this run has no proven snapshot", next="invoke deploy --phase 1", page="runbooks/deploy.md#phase-1"
        )
    age = time.time() - finished.timestamp()
    limit = settings.finalize_snapshot_age_max_seconds if before == "finalize" else settings.snapshot_age_max_seconds
    if age > limit:
        raise Refused(
            f"the proven snapshot is {age / 60:.0f} min old",
            limit=f"{limit / 60:.0f} min",
            next="invoke deploy --phase 1 (after invoke rollback when phase 2 has begun)",
            page="runbooks/deploy.md#phase-1",
        )
    return {"changed": False, "age_seconds": round(age), "manifest": context.fact("manifest"),
            "say": f"snapshot proven {age / 60:.0f} min ago ({len(proofs)} copies equal)"}


@step("release")
def deploy_release(context: Context, host: str, which: str = "after") -> Facts:
    """Build and start a release on an idle host and wait until it is ready behind the balancer."""
    settings = context.environment.settings
    wanted = settings.release_after if which == "after" else settings.release_before
    done = release.deploy(context.environment, _application(context, host), wanted)
    return {"changed": done.changed, "release": done.release, "digest": done.digest, "seconds": round(done.seconds, 3),
            "say": f"release {done.release} ({done.digest[:12]}) ready"}


@step("stop_release")
def stop_release(context: Context, host: str) -> Facts:
    """Drain a host and stop its process."""
    started = time.monotonic()
    release.stop(context.environment, _application(context, host))
    return {"seconds": round(time.monotonic() - started, 3), "say": "drained, stopped"}


@step("shift")
def shift(context: Context, host: str, percent: int, *, passed: bool = False) -> Facts:
    """Give green a share of the traffic; when a gate does not pass, give it all back to blue and raise Refused.

    `passed`: this share has passed its gates before, so it is only taken again when green has less.
    """
    environment = context.environment
    before = traffic.split(environment).percent
    if before > percent or (passed and before == percent):
        return {"changed": False, "say": f"{before:g} % on green already"}
    begun = gates.start(environment)
    done = traffic.shift(environment, percent)
    context.journal("traffic_shifted", before=done.before, after=done.after, weights=dict(done.weights))
    context.progress.say(
        step="shift", host=host, text=f"{done.before:g} % -> {done.after:g} % on green; gates are watching"
    )
    verdicts = gates.evaluate(
        environment,
        gates.registry(),
        time.time(),
        begun=begun,
        baseline=context.fact("blue_baseline") if percent == 100 else None,
        on_sample=lambda v: context.progress.say(step="gates", host=host, text=_summary(v)),
    )
    _decide(context, verdicts, f"at {percent} %")
    if percent < 100:
        context.set_fact("blue_baseline", gates.baseline_of(verdicts))
    return {
        "percent": done.after,
        "verdicts": [v.to_dict() for v in verdicts],
        "say": f"{done.after:g} % on green; {_summary(verdicts)}",
    }


@step("watch")
def watch(context: Context, host: str) -> Facts:
    """Watch the gates for the agreed time at 100 %; when one does not pass, give the traffic back and raise Refused."""
    environment, started = context.environment, time.time()
    verdicts = gates.watch(
        environment, environment.settings.cutover_watch_seconds, baseline=context.fact("blue_baseline"),
        on_sample=lambda v: context.progress.say(step="watch", host=host, text=_summary(v)),
    )
    _decide(context, verdicts, "at 100 %")
    context.set_fact("watched", {"since": started, "until": time.time(), "verdicts": [v.to_dict() for v in verdicts]})
    return {
        "changed": False,
        "seconds": round(time.time() - started, 1),
        "verdicts": [v.to_dict() for v in verdicts],
        "say": _summary(verdicts),
    }


@step("measure_kpis")
def measure_kpis(context: Context, host: str) -> Facts:
    """Measure what the checklist asks for, over the watch; what cannot be measured says so."""
    watched: dict[str, Any] = context.fact("watched") or {}
    until = time.time()
    measured = [k.to_dict() for k in kpis.measure(context.environment, float(watched.get("since", until)), until)]
    context.set_fact("kpis", measured)
    met = sum(k["verdict"] == "met" for k in measured)
    missed = [k["name"] for k in measured if k["verdict"] == "missed"]
    return {
        "changed": False,
        "kpis": measured,
        "say": f"{met} met, {len(missed)} missed{': ' + ', '.join(missed) if missed else ''}, "
        f"{sum(k['verdict'] == 'not measured' for k in measured)} not measured",
    }


@step("to_blue")
def to_blue(context: Context, host: str) -> Facts:
    """Give blue all the traffic. The command has done so before it started the playbook; here it is seen to be so."""
    done = traffic.to_blue(context.environment)
    return {"changed": done.before > 0, "before": done.before, "after": done.after, "seconds": round(done.seconds, 3),
            "say": f"{done.after:g} % on green, read back"}


@step("blue_answers")
def blue_answers(context: Context, host: str) -> Facts:
    """Ask a blue process about its release and every tier; raise Failed when it does not answer."""
    application = _application(context, host)
    told = _answer(application)
    return {"changed": False, "answer": told, "say": f"{application.host} answers on every tier"}


def _decide(context: Context, verdicts: list[Verdict], where: str) -> None:
    """Return when all gates pass; otherwise give the traffic back to blue first, then raise Refused with the reason."""
    if gates.worst(verdicts) == "pass":
        return
    done = traffic.to_blue(context.environment)
    bad = next(v for value in ("fail", "inconclusive") for v in verdicts if v.verdict == value)
    context.journal(
        "gate_refused",
        where=where,
        verdicts=[v.to_dict() for v in verdicts],
        traffic_back_seconds=round(done.seconds, 3),
    )
    quiet = bad.verdict == "inconclusive" and context.environment.name == "sandbox"
    hint = "; gates need requests: invoke sandbox.load in another terminal" if quiet else ""
    raise Refused(
        f"gate {bad.name} {where} is {bad.verdict}: {bad.observed}; traffic is back on blue after {done.seconds:.1f} s",
        limit=bad.limit, next=f"invoke rollback, or mend green and repeat the phase{hint}", page=bad.page,
    )


def _summary(verdicts: list[Verdict]) -> str:
    return ", ".join(f"{v.name} {v.verdict}" + (f" ({v.observed})" if v.verdict != "pass" else "") for v in verdicts)


def _application(context: Context, host: str) -> Application:
    return {a.host: a for a in context.environment.applications}[host]


def _answer(application: Application) -> dict[str, Any]:
    """Return what /version says once /ready has touched every tier; raise Failed."""
    try:
        for path in ("/ready", "/version"):
            with urllib.request.urlopen(application.url + path, timeout=ANSWER_SECONDS) as answer:
                told: dict[str, Any] = json.loads(answer.read() or b"{}")
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise Failed(
            f"{application.host} does not answer: {error}",
            next=f"look at the log of {application.host}",
            page="runbooks/rollback.md#blue",
        ) from None
    return told
