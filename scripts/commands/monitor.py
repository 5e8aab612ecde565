"""Monitoring: the watch, one pass of what is refreshed on a schedule, and metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from commands.shared import DEBUG, ENV, JSON, number, told
from rollout import environment, screen
from rollout.monitoring import jobs, metrics
from rollout.monitoring import screen as pages
from rollout.monitoring import watch as watches
from rollout.objectstore import ObjectStore

PAGE = "see runbooks/monitoring.md"


@task(
    help={
        "env": ENV,
        "hours": "how long in all; an interrupted watch goes on with what is left; 0 is one look",
        "json": "a line of JSON a look",
        "debug": DEBUG,
    }
)
@told
def watch(c: Context, env: str = "sandbox", hours: str = "72", json: bool = False, debug: bool = False) -> None:
    """Watch probes, gates and alerts; go on where it was left."""
    length, found = number("hours", hours), environment.load(env)
    store = ObjectStore(found.object_store)
    if length:
        seen = watches.watch(found, store, length, lambda seen: pages.look(seen, as_json=json))
    else:
        pages.look(seen := watches.once(found, store), as_json=json)
    if seen["open"]:
        words = f"failed: {len(seen['open'])} critical, open at the end\nnext: invoke status  {PAGE}"
        raise Exit(screen.for_environment(words, env), code=1)


@task(help={"env": ENV, "force": "also what succeeded only just now", "json": JSON, "debug": DEBUG})
@told
def refresh(c: Context, env: str = "sandbox", force: bool = False, json: bool = False, debug: bool = False) -> None:
    """Run one pass: views, query log, alerts."""
    ran = jobs.run(environment.load(env), force=force)
    pages.ran((one.to_dict() for one in ran), as_json=json)
    if failed := [f"{one.job} on {one.host}" for one in ran if one.outcome == "failed"]:
        raise Exit(f"failed: {', '.join(failed)}\nnext: mend what stands behind each, then repeat the command  {PAGE}", code=1)


@task(help={"env": ENV, "output": "a .prom file of node_exporter's textfile folder; default: print", "debug": DEBUG})
@told
def metrics_(c: Context, env: str = "sandbox", output: str = "", debug: bool = False) -> None:
    """Write metrics in Prometheus's exposition format."""
    found = environment.load(env)
    store = ObjectStore(found.object_store)
    if output:
        metrics.write(found, store, Path(output))
    else:
        print(metrics.render(found, store).decode(), end="")
