"""A whole case: create, write, expand, swap, revert, expand, swap, compare, contract; kill meanwhile; compare after each."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import dump
import twin
import universe
from cases import Case
from cluster import Cluster
from steps import Steps
from traffic import Traffic, keys
from writers import Writers

SETTLE_SECONDS = 0.1
STAGES = {
    "expand": "compared",
    "discard": None,
    "swap": "swapped",
    "revert": "copied",
    "compare": "swapped",
    "contract": "contracted",
}


class Broken(AssertionError):
    """A case that did not go as it must; says how, and how to replay it."""


def play(case: Case, cluster: Cluster) -> str:
    """Play a case; raise Broken at the first thing that is not as it must be. Returns a line about what was done."""
    dbname = cluster.database()
    with cluster.superuser(dbname) as owner:
        owner.execute(f"SET ROLE {universe.OWNER}".encode())
        universe.create(owner, case)
        pool = keys(owner, case)
    traffic = Traffic(case, cluster.conninfo(dbname, universe.APP), pool)
    before = dump.pieces(cluster, dbname, case)
    with (
        tempfile.TemporaryDirectory() as folder,
        Steps(cluster, dbname, case.change_yml(), Path(folder), traffic) as steps,
    ):
        writers = Writers(traffic)
        try:
            failures = _walk(case, cluster, dbname, steps, writers, traffic, before)
        finally:
            writers.stop()
        failures = failures or traffic.failures
        if failures:
            raise Broken(_report(case, failures, steps, traffic))
    cluster.drop(dbname)
    return f"{dict(traffic.counts)}"


def _walk(
    case: Case, cluster: Cluster, dbname: str, steps: Steps, writers: Writers, traffic: Traffic, before: dict[str, str]
) -> list[str]:
    for number, step in enumerate(case.steps):
        time.sleep(SETTLE_SECONDS)
        if step == "revert":
            writers.stop_green()
        if step == "contract":
            writers.stop_blue()
            if "key" in case.target:
                writers.stop_green()  # the twin's key is no key of the target's any more
        said = steps.step(step, (kill for kill in case.kills if kill[0] == number))
        if "done" not in said or said["stage"] != STAGES[step]:
            found = [f"{step} ended at {said.get('stage')}: {said.get('text', said)}", *traffic.failures]
            if "differ" in said.get("text", ""):
                with traffic.still(), cluster.superuser(dbname) as connection:
                    found += twin.differences(connection, case, "copied" if step in ("expand", "swap") else "swapped")
            return found
        if step == "swap":
            writers.start_green()
        time.sleep(SETTLE_SECONDS)
        with traffic.still(), cluster.superuser(dbname) as connection:
            if step == "expand":
                twin.taken_back(connection, case)
            parted = twin.differences(connection, case, STAGES[step])
        if parted or traffic.failures:
            return [f"after {step}:", *parted, *traffic.failures]
        if step in ("revert", "discard") or (step == "contract" and not case.changes):
            left = case.left if step == "contract" else set()
            changed = dump.changed(before, dump.pieces(cluster, dbname, case), kept=step == "revert", left=left)
            if changed:
                return [f"the catalogue after {step}:", *changed]
    return []


def _report(case: Case, failures: list[str], steps: Steps, traffic: Traffic) -> str:
    said = "\n".join(f[:3000] for f in failures[:12])
    log = "\n".join(steps.log)
    return (
        f"\n{said}\n\nsteps:\n{log}\n\nwrites: {dict(traffic.counts)}\n"
        f"profile: {case.profile}, seed {case.seed}, rows {case.rows}\n"
        f"keep as tests/faults/seeds/<name>.json:\n{case.to_json()}\n\n{universe.script(case)}"
    )
