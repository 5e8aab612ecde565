"""Steps on releases and what serves: blue asked, a release deployed or stopped, KPIs measured."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from rollout import release, traffic
from rollout.environment import Application
from rollout.errors import Failed, Fenced, Refused
from rollout.monitoring import jobs, look
from rollout.road.context import Context, Facts, step
from rollout.snapshots import catalogue

ANSWER_SECONDS = 10.0


@step("require_blue")
def require_blue(context: Context, host: str) -> Facts:
    """Refuse unless blue is up and has all the traffic, or part of it after an interruption."""
    split = traffic.split(context.environment)
    for application in context.environment.colour("blue"):
        _answer(application)
    return {"changed": False, "green_percent": traffic.told(split.percent), "say": f"blue answers; {split.percent:g} % on green"}


@step("require_proven_snapshot")
def require_proven_snapshot(context: Context, host: str, before: str = "rollout") -> Facts:
    """Refuse when this run has no restored and compared snapshot, or one older than agreed.

    Past the point of no return it is too late to ask: a half contracted schema would be the worse state.
    """
    state, settings = context.session.state(), context.environment.settings
    if state.no_return is not None:
        return {"changed": False, "say": "past the point of no return; contract goes on"}
    if before == "finalize":
        return _require_young_proof(context, settings.finalize_snapshot_age_max_seconds)
    proofs = context.facts("proof")
    finished = state.phases["1"].finished
    equal = [p for p in proofs.values() if p["differences_total"] == 0]
    if not context.fact("manifest") or not proofs or len(equal) < len(proofs) or finished is None:
        raise Refused(
            "this run has no proven snapshot", next="invoke deploy --phase 1", page="runbooks/deploy.md#phase-1"
        )
    age = time.time() - finished.timestamp()
    if age > settings.snapshot_age_max_seconds:
        raise Refused(
            f"the proven snapshot is {age / 60:.0f} min old",
            limit=f"{settings.snapshot_age_max_seconds / 60:.0f} min",
            next="invoke deploy --phase 1 (after invoke rollback when phase 2 has begun)",
            page="runbooks/deploy.md#phase-1",
        )
    return {"changed": False, "age_seconds": round(age), "manifest": context.fact("manifest"),
            "say": f"snapshot proven {age / 60:.0f} min ago ({len(proofs)} copies equal)"}


def _require_young_proof(context: Context, limit_seconds: float) -> Facts:
    """Refuse unless a snapshot of every tier, taken within the agreed time, was restored and found equal; whoever took it."""
    wanted = {d.host for d in context.environment.databases if d.host_set == "live"}
    for one in catalogue.every(context.store):
        held = {d.origin.host for d in one.manifest.databases} if one.manifest else set()
        if one.state != "proven" or one.manifest is None or one.proof is None or not wanted <= held:
            continue
        age = (context.store.now() - one.manifest.created_at).total_seconds()
        if age <= limit_seconds:
            return {"changed": False, "age_seconds": round(age), "manifest": one.manifest.key,
                    "say": f"{one.id}, {age / 60:.0f} min old, is proven ({len(one.proof.comparisons)} copies equal)"}
        raise Refused(
            f"the newest proven snapshot, {one.id}, is {age / 60:.0f} min old",
            limit=f"{limit_seconds / 60:.0f} min",
            next="invoke snapshot.take --verify, then invoke finalize",
            page="runbooks/snapshots.md",
        )
    raise Refused("no snapshot of all tiers is proven", next="invoke snapshot.take --verify", page="runbooks/snapshots.md")


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


@step("stop_green")
def stop_green(context: Context, host: str) -> Facts:
    """Stop a green process on the way back. One that cannot be stopped is noted: it must not keep the schema forward."""
    started, why = time.monotonic(), ""
    try:
        left = release.stop(context.environment, _application(context, host), insist=True)
    except Fenced:
        raise
    except Exception as error:  # noqa: BLE001  whatever the reason, the schema is to be taken back
        why, left = getattr(error, "observed", "") or f"{type(error).__name__}: {error}", 0
        context.journal("green_not_stopped", host=host, why=why)
    context.record(f"not_stopped.{host}", why)
    say = f"stopped with {left} sessions open" if left else "drained, stopped"
    return {"seconds": round(time.monotonic() - started, 3), "left": left, "not_stopped": why,
            "say": f"not stopped, the rollback goes on: {why}" if why else say}


@step("require_green_stopped")
def require_green_stopped(context: Context, host: str) -> Facts:
    """Raise Failed, once everything else has been taken back, when a green process could not be stopped."""
    green = [a.host for a in context.environment.colour("green")]
    found = {name: context.recorded(f"not_stopped.{name}") for name in green}
    wrong = [f"{name}: {why}" for name, why in found.items() if why]
    if wrong:
        raise Failed(
            f"schema and traffic are back; green could not be stopped on {'; '.join(wrong)}",
            next="end the process there, then invoke rollback",
            page="runbooks/rollback.md#green-does-not-stop",
        )
    return {"changed": False, "say": f"green is stopped on {len(green)} hosts"}


@step("refresh_monitoring")
def refresh_monitoring(context: Context, host: str) -> Facts:
    """Do one pass of what is refreshed on a schedule, and keep what the probes read and which alerts are open."""
    ran = jobs.run(context.environment, force=True)
    seen = look.look(context.environment, context.store, ran=ran)
    told = {key: seen[key] for key in ("observed", "probes", "alerts", "jobs", "ran", "open")}
    context.set_fact("monitoring", {**told, **context.stamp()})
    failed = [f"{one.job} on {one.host}: {one.why}" for one in ran if one.outcome == "failed"]
    beyond = sum(probe["verdict"] == "fail" for probe in seen["probes"])
    say = f"{sum(one.outcome == 'done' for one in ran)} of {len(ran)} jobs done; {len(seen['probes'])} probes, {beyond} beyond"
    say += f" their thresholds; {len(seen['alerts'])} alerts open" + (f"; failed: {'; '.join(failed)}" if failed else "")
    return {"changed": True, **told, "say": say}


@step("to_blue")
def to_blue(context: Context, host: str) -> Facts:
    """Give blue all the traffic. The command has done so before it started the playbook; here it is seen to be so."""
    done = traffic.to_blue(context.environment)
    return {"changed": done.before != 0, "before": traffic.told(done.before), "after": done.after,
            "seconds": round(done.seconds, 3), "say": f"{done.after:g} % on green, read back"}


@step("blue_answers")
def blue_answers(context: Context, host: str) -> Facts:
    """Ask a blue process about its release and every tier; raise Failed when it does not answer."""
    application = _application(context, host)
    told = _answer(application)
    return {"changed": False, "answer": told, "say": f"{application.host} answers on every tier"}


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
