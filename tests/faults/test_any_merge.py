"""Two tables that nobody prepared become one under writers, with kills in between; compared after each step.

    python -m pytest tests/faults/test_any_merge.py --rounds 50 --seed 7

A failure prints the case as JSON: kept in seeds/merges/ it is played first from then on.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import merges
import pytest
from cluster import Cluster
from merge_writers import MergeWriter, writers
from merges import STAGES, STEPS, Merge
from play import Broken
from steps import Steps
from traffic import Traffic
from universe import APP

SETTLE_SECONDS = 0.08


def play(merge: Merge, cluster: Cluster) -> str:
    """Play a case; raise Broken at the first thing that is not as it must be. Returns a line about what was done."""
    dbname = cluster.database()
    with cluster.superuser(dbname) as owner:
        standing = merges.create(owner, merge)
    traffic = Traffic(merge.table, cluster.conninfo(dbname, APP))
    with (
        tempfile.TemporaryDirectory() as folder,
        Steps(cluster, dbname, merge.change_yml(), Path(folder), traffic) as steps,
    ):
        blue = list(writers(merge, traffic, standing, range(3), green=False))
        green: list[MergeWriter] = []
        try:
            failures = _walk(merge, cluster, dbname, steps, traffic, standing, blue, green)
        finally:
            for writer in [*blue, *green]:
                writer.end()
        failures = failures or traffic.failures
        if failures:
            told = "\n".join([*(f[:2000] for f in failures[:10]), "steps:", *steps.log])
            raise Broken(
                f"\n{told}\n{dict(traffic.counts)}\nkeep as tests/faults/seeds/merges/<name>.json:\n{merge.to_json()}"
            )
    cluster.drop(dbname)
    return f"{dict(traffic.counts)}"


def _walk(
    merge: Merge, cluster: Cluster, dbname: str, steps: Steps, traffic: Traffic, standing: list, blue: list, green: list
) -> list[str]:
    for number, step in enumerate(STEPS):
        time.sleep(SETTLE_SECONDS)
        while step in ("revert", "contract") and green:
            green.pop().end()
        while step == "contract" and blue:
            blue.pop().end()
        said = steps.step(step, (kill for kill in merge.kills if kill[0] == number))
        if "done" not in said or said["stage"] != STAGES[step]:
            found = [f"{step} ended at {said.get('stage')}: {said.get('text', said)}", *traffic.failures]
            if "differ" in said.get("text", ""):
                with traffic.still(), cluster.superuser(dbname) as connection:
                    found += merges.differences(
                        connection, merge, "copied" if step in ("expand", "swap") else "swapped"
                    )
            return found
        if step == "swap":
            green += writers(merge, traffic, standing, range(10 + number, 11 + number), green=True)
        time.sleep(SETTLE_SECONDS)
        with traffic.still(), cluster.superuser(dbname) as connection:
            parted = merges.differences(connection, merge, STAGES[step])
        if parted or traffic.failures:
            return [f"after {step} ({number}):", *parted, *traffic.failures]
    return []


def test_kept(cluster: Cluster) -> None:
    """Every case that once failed, or that somebody thought of."""
    for path in merges.seeds():
        play(Merge.from_json(path.read_text()), cluster)


def test_random(cluster: Cluster, pytestconfig: pytest.Config) -> None:
    """Random cases, every one played before the first failure is told."""
    asked = pytestconfig.getoption("--rounds")
    if not asked:
        return  # the kept one is enough for every day
    first = pytestconfig.getoption("--seed") or int(time.time())
    broken: list[str] = []
    for number in range(first, first + asked):
        try:
            play(merges.drawn(number), cluster)
        except Broken as error:
            broken.append(f"--seed {number}: {error}")
    if broken:
        pytest.fail(f"{len(broken)} cases failed; the first is {broken[0]}", pytrace=False)
