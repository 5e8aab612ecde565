"""Tables that nobody prepared are rewritten under writers, with kills in between, and compared with a twin after each step.

The kept cases in seeds/ come first, then a few random ones, the same each time. More, and new ones, by hand:

    python -m pytest tests/faults --rounds 200
    python -m pytest tests/faults --rounds 50 --postgres /usr/lib/postgresql/15/bin
    python -m pytest tests/faults --rounds 50 --seed 7

A failure prints the case as SQL and change.yml for a person, and as JSON: put that into seeds/ under a name that says what
it is about, and it is played first from then on.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import twin
import universe
from cases import Case
from cluster import Cluster
from play import Broken, play
from tables import drawn
from traffic import Traffic, keys
from writers import Writers

FIXED_ROUNDS = 2
FIXED_SEED = 1
WIDE_ROUNDS = 1
ALONE_SECONDS = 0.3


def test_kept(cluster: Cluster, path: Path) -> None:
    """Every case that once failed, or that somebody thought of."""
    case = Case.from_json(path.read_text())
    if case.major > cluster.major:
        return  # it has what this version of Postgres has not
    play(case, cluster)


def test_random(cluster: Cluster, pytestconfig: pytest.Config) -> None:
    """Random cases, every one played before the first failure is told."""
    _play_all(cluster, pytestconfig, FIXED_ROUNDS)


def _play_all(cluster: Cluster, pytestconfig: pytest.Config, rounds: int, *, wide: bool = False) -> None:
    asked = pytestconfig.getoption("--rounds")
    first = pytestconfig.getoption("--seed") or (int(time.time()) if asked else FIXED_SEED)
    broken: list[str] = []
    for number in range(first, first + (asked or rounds)):
        try:
            play(drawn(number, cluster.major, wide=wide), cluster)
        except Broken as error:
            broken.append(f"--seed {number}: {error}")
    if broken:
        pytest.fail(f"{len(broken)} cases failed; the first is {broken[0]}", pytrace=False)


def test_wide(cluster: Cluster, pytestconfig: pytest.Config) -> None:
    """The new release writes what only the new shape can hold: it is in the reject ledger, and nowhere else."""
    _play_all(cluster, pytestconfig, WIDE_ROUNDS, wide=True)


def test_writers_alone(cluster: Cluster) -> None:
    """Without any change a table and its twin stay equal and no client fails: what the other tests find is the engine's."""
    for number in range(FIXED_SEED, FIXED_SEED + FIXED_ROUNDS):
        case, dbname = drawn(number, cluster.major), cluster.database()
        with cluster.superuser(dbname) as connection:
            universe.create(connection, case)
            writers = Writers(Traffic(case, cluster.conninfo(dbname, universe.APP), keys(connection, case)))
            time.sleep(ALONE_SECONDS)
            writers.stop()
            assert (twin.differences(connection, case, "none"), writers.traffic.failures) == ([], [])
        cluster.drop(dbname)
