"""Steps of a rollback to a snapshot: brought back beside the live databases, then exchanged with the application closed."""

from __future__ import annotations

from rollout import release, traffic
from rollout.restoring import acting, bringing
from rollout.restoring.bringing import Place
from rollout.road.context import Context, Facts, step
from rollout.snapshots import catalogue


@step("bring_back")
def bring_back(context: Context, host: str) -> Facts:
    """Restore a database's part of the snapshot into a new name on its server, and compare it."""
    manifest = catalogue.find(context.store, context.fact("to_snapshot"))
    (done,) = bringing.bring(context.store, manifest, [_place(context, host)], lambda said: context.progress.say(**said))
    rows = f", {done.comparison.rows:,} rows equal" if done.comparison else ", compared before"
    return {"changed": done.changed, "database": done.place.name, "seconds": done.seconds, "say": f"{done.place.name}{rows}"}


@step("exchange")
def exchange(context: Context, host: str) -> Facts:
    """Close the application, give every restored database the live name, and open it for the release that fits them."""
    places = [_place(context, d.host) for d in context.environment.databases if d.host_set == "live"]
    done = acting.under_session(
        context.environment, context.session, acting.pairs_of(places), lambda said: context.progress.say(**said),
        opened=lambda: _open_blue(context),
    )  # fmt: skip
    kept = {database.host: made.kept for database, made in done.exchanged}
    context.set_fact("replaced", kept)
    return {"kept": kept, "closed_seconds": done.closed_seconds,
            "say": f"{len(kept)} databases exchanged; closed for {done.closed_seconds:.1f} s"}


def _open_blue(context: Context) -> None:
    """Start blue where it does not run, and let it in with everything; green, whose schema is gone, is stopped afterwards."""
    environment = context.environment
    for application in environment.colour("blue"):
        release.deploy(environment, application, environment.settings.release_before)
    traffic.to_blue(environment)


def _place(context: Context, host: str) -> Place:
    manifest = catalogue.find(context.store, context.fact("to_snapshot"))
    tier = context.environment.database(host).tier
    return next(p for p in bringing.places(context.environment, context.store, manifest, [tier]) if p.live.host == host)
