"""Phase 1: preflight, snapshot, restore into staging, comparison, rehearsal, rollback plan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rollout import performance_view, preflight, rollback_plan, snapshots
from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import Database
from rollout.errors import Failed, Refused
from rollout.road.changing import rows_by_name
from rollout.road.context import Context, Facts, step
from rollout.snapshots import proof


@step("preflight")
def check_everything(context: Context, host: str) -> Facts:
    """Ask every part whether it can carry a rollout; raise Refused with the first that cannot."""
    findings = preflight.check(context.environment, context.store)
    bad = [f for f in findings if f["verdict"] != "pass"]
    if bad:
        raise Refused(
            f"preflight: {bad[0]['name']}: {bad[0]['observed']}"
            + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""),
            limit=bad[0]["limit"],
            next="mend it, then invoke deploy --phase 1",
            page="runbooks/deploy.md#preflight",
            verdict="fail" if any(f["verdict"] == "fail" for f in bad) else "inconclusive",
        )
    return {"changed": False, "findings": findings, "say": f"preflight: {len(findings)} checks pass"}


@step("begin_snapshot")
def begin_snapshot(context: Context, host: str) -> Facts:
    """Choose where this attempt's objects go."""
    snapshots.require_same_clock(context.store)
    prefix = snapshots.new_prefix()
    context.set_fact("snapshot.prefix", prefix)
    context.set_fact("snapshot.token", context.request.token)
    return {"prefix": prefix, "say": "a new snapshot begins"}


@step("snapshot_database")
def snapshot_database(context: Context, host: str) -> Facts:
    """Dump a live database to the object store with the digests of every table at the same instant."""
    taken = snapshots.take_database(
        context.environment.database(host),
        context.store,
        context.fact("snapshot.prefix"),
        _progress(context, "snapshot", host),
        **snapshots.options(context.environment, context.environment.database(host).tier, context.fact("snapshot.prefix")),
    )
    context.set_fact(f"snapshot.database.{host}", taken.model_dump(mode="json"))
    return {"bytes": taken.size, "sha256": [part.sha256 for part in taken.parts], "rows": taken.contents.rows,
            "say": f"{taken.contents.rows:,} rows, {taken.size / 2**20:.1f} MiB in {len(taken.parts)} objects"}


@step("snapshot_redis")
def snapshot_redis(context: Context, host: str) -> Facts:
    """Copy the live Redis through a helper replica to the object store."""
    taken = snapshots.take_redis(
        context.environment.redis_of("live"),
        context.store,
        context.fact("snapshot.prefix"),
        _progress(context, "snapshot", host),
        marker=snapshots.marker_name(context.fact("snapshot.prefix")),
        keep_days=context.environment.settings.snapshot_retention_days["queue"],
    )
    context.set_fact("snapshot.redis", taken.model_dump(mode="json"))
    return {"bytes": taken.content.size, "sha256": taken.content.sha256, "keys": taken.keyspace.keys,
            "say": f"{taken.keyspace.keys:,} keys, {taken.content.size / 2**20:.1f} MiB, sha256 {taken.content.sha256[:12]}"}


@step("commit_snapshot")
def commit_snapshot(context: Context, host: str) -> Facts:
    """Write the manifest: from here on the snapshot exists."""
    databases = [snapshots.DatabaseSnapshot.model_validate(v) for v in context.facts("snapshot.database").values()]
    redis = snapshots.RedisSnapshot.model_validate(context.fact("snapshot.redis"))
    manifest = snapshots.commit(
        context.store, context.fact("snapshot.prefix"), databases, [redis], environment=context.environment.name,
        run=context.request.run, who=context.request.operator, why="phase 1",
        marker=snapshots.marker_name(context.fact("snapshot.prefix")),
    )  # fmt: skip
    context.set_fact("manifest", manifest.key)
    return {"manifest": manifest.key, "say": f"manifest {manifest.key}"}


@step("restore_database")
def restore_database(context: Context, host: str) -> Facts:
    """Replace a staging database by the snapshot of the live one of its tier and place."""
    target = context.environment.database(host)
    restored = snapshots.restore_database(
        _snapshot_for(context, target), context.store, target, _progress(context, "restore", host),
        jobs=context.environment.settings.snapshot_jobs,
    )  # fmt: skip
    context.set_fact(f"restored.{host}", restored.seconds)
    return {"seconds": restored.seconds, "left_out": restored.left_out, "say": "restored from the object store"}


@step("restore_redis")
def restore_redis(context: Context, host: str) -> Facts:
    """Replace the staging Redis by the snapshot."""
    taken = snapshots.RedisSnapshot.model_validate(context.fact("snapshot.redis"))
    restored = snapshots.restore_redis(
        taken, context.store, context.environment.redis_of("staging"), _progress(context, "restore", host)
    )
    return {"seconds": restored.seconds, "left_out": restored.left_out, "say": "restored from the object store"}


@step("compare_restored")
def compare_restored(context: Context, host: str) -> Facts:
    """Compare what was restored with what was digested when the snapshot was taken; raise Failed on any difference."""
    redis = context.environment.redis_of("staging")
    if host == redis.host:
        taken = snapshots.RedisSnapshot.model_validate(context.fact("snapshot.redis"))
        compared = snapshots.compare_redis(taken, redis)
    else:
        target = context.environment.database(host)
        compared = snapshots.compare_database(_snapshot_for(context, target), target)
    facts = compared.model_dump(mode="json")
    context.set_fact(f"proof.{host}", {**facts, **context.stamp()})
    if not compared.equal:
        raise Failed(
            f"{host}: the restored snapshot differs in {compared.differences_total} places:"
            f" {'; '.join(compared.differences[:3])}",
            limit="0 differences",
            next="invoke deploy --phase 1 takes a new one",
            page="runbooks/restore.md#differs",
        )
    things = "keys" if host == redis.host else f"rows in {compared.tables} tables"
    return {**facts, "say": f"equal: {compared.rows:,} {things}"}


@step("prove_snapshot")
def prove_snapshot(context: Context, host: str) -> Facts:
    """Write the verdict on the snapshot beside its manifest: every part of it was restored on staging and compared."""
    manifest = snapshots.load(context.store, context.fact("manifest"))
    compared, recovered = {}, {}
    for name, fact in context.facts("proof").items():
        told = {key: value for key, value in fact.items() if key in snapshots.Comparison.model_fields}
        live = _live_of(context, name)
        compared[live] = snapshots.Comparison.model_validate(told)
        recovered[live] = context.fact(f"restored.{name}") or 0.0
    made = proof.made(
        manifest, proof.sha256_of(context.store, manifest), compared, [], by=context.request.operator, where="staging",
        run=context.request.run, recovered={k: v for k, v in recovered.items() if v},
        seconds=sum(one.seconds for one in compared.values()),
    )  # fmt: skip
    key = proof.write(context.store, manifest, made)
    if made.verdict != "pass":
        missing = sorted({d.origin.host for d in manifest.databases} - set(compared))
        raise Failed(
            f"the snapshot is not proven: {', '.join(missing) or 'a part of it differs'}",
            limit="every part restored and compared",
            next="invoke deploy --phase 1 takes a new one",
            page="runbooks/restore.md#differs",
        )
    return {"proof": key, "say": f"{manifest.id} is proven: {len(compared)} parts equal"}


@step("rehearse")
def rehearse(context: Context, host: str) -> Facts:
    """Run every change of a tier on staging: forward, back, forward again, contract; keep the times of each."""
    database = context.environment.database(host)
    times: dict[str, Any] = {}
    for change in changes.plan(database.tier):
        with ledger.connect(database) as connection:
            report = context.report("rehearse", host, rows_by_name(connection))
            stages = Stages(connection, change, context.fence, context.environment.settings, report)
            expanded = stages.expand().to_dict()
            if "refresh_performance" in change.declaration.before_swap:
                performance_view.refresh(context.environment, "staging")
            times[change.name] = {
                "expand": expanded, "swap": stages.swap().to_dict(), "revert": stages.revert().to_dict(),
                "compare": stages.compare() if change.rewrites else None,
                "again": {"expand": stages.expand().to_dict(), "swap": stages.swap().to_dict()},
            }
    for change in changes.plan(database.tier):
        with ledger.connect(database) as connection:
            stages = Stages(connection, change, context.fence, context.environment.settings)
            times[change.name]["contract"] = stages.contract().to_dict()
    context.set_fact(f"rehearsal.{host}", {**times, **context.stamp()})
    swaps = [t["swap"]["seconds"] for t in times.values()] + [t["revert"]["seconds"] for t in times.values()]
    return {
        "times": times,
        "say": f"{len(times)} changes forward, back, forward, contracted; longest swap {max(swaps) * 1000:.0f} ms",
    }


@step("rollback_plan")
def write_rollback_plan(context: Context, host: str) -> Facts:
    """Write what a rollback of this very environment would do and how long the rehearsal says it takes."""
    plan = rollback_plan.build(context.environment, context.session.state())
    paths = rollback_plan.write(plan, context.folder)
    key = f"runs/{context.request.run}/rollback-plan-{context.request.token}.json"
    context.store.create(key, Path(paths["json"]).read_bytes())
    context.set_fact("rollback_plan", key)
    return {
        "files": paths,
        "seconds": plan["seconds"],
        "say": f"rollback plan: about {plan['seconds']:.1f} s, {paths['markdown']}",
    }


def _snapshot_for(context: Context, target: Database) -> snapshots.DatabaseSnapshot:
    """Return the snapshot of the live database that stands at the same place of its tier as the staging one."""
    return snapshots.DatabaseSnapshot.model_validate(context.fact(f"snapshot.database.{_live_of(context, target.host)}"))


def _live_of(context: Context, host: str) -> str:
    """Return the live host whose place on staging `host` has."""
    environment = context.environment
    redis = {r.host for r in environment.redis}
    if host in redis:
        return environment.redis_of("live").host
    target = environment.database(host)
    place = environment.tier(target.tier, "staging").index(target)
    return environment.tier(target.tier)[place].host


def _progress(context: Context, name: str, host: str) -> snapshots.Progress:
    report_at = [time.monotonic()]

    def say(what: str, done: int, total: int | None) -> None:
        if time.monotonic() - report_at[0] >= 1.0:
            report_at[0] = time.monotonic()
            context.progress.say(step=name, host=host, text=what, done=done, total=total)

    return say


