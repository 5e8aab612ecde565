"""A dump that is taken in the middle of a rollout can be restored: every tier, at every stage, equal to the last object."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import servers
from secured import Place

from rollout.engine import changes
from rollout.environment import TIERS, Database
from rollout.snapshots import contents
from rollout.snapshots.database import contents_differences


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """One server with the four databases as found, and rows in them."""
    server = servers.Server()
    try:
        yield Place.seeded(server)
    finally:
        server.stop()


def _copy(place: Place, live: Database, name: str) -> Database:
    """Dump a database as a superuser would, restore it under another name, and return that."""
    with servers.superuser(live.port) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER penguin_rollout".encode())
    programs, dump = servers.postgres_binaries(), place.server.folder / f"{name}.dump"
    who = ["-h", "127.0.0.1", "-p", str(live.port), "-U", "postgres"]
    for argv in (
        [programs / "pg_dump", "-Fc", "-f", dump, *who, live.dbname],
        [programs / "pg_restore", "--exit-on-error", "-d", name, *who, dump],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
    return live.model_copy(update={"dbname": name})


def _differences(live: Database, copied: Database) -> list[str]:
    held = []
    for database in (live, copied):
        with contents.reading(database) as connection:
            held.append(contents.read(connection, lambda: None, lambda *_: None))
    assert held[0].rows > 100
    return contents_differences(held[0], held[1], ignored=set())


@pytest.mark.parametrize("tier", TIERS)
def test_a_dump_is_restored_when_everything_is_swapped(place: Place, tier: str) -> None:
    """What was restored has the same rows, sequences and catalogue objects: the stage at which a rollout stands for days."""
    live = place.databases[tier]
    place.forward(tier, until=changes.plan(tier)[-1].name)
    assert _differences(live, _copy(place, live, f"{tier}_swapped")) == []


@pytest.mark.deep
@pytest.mark.parametrize("tier", TIERS)
def test_a_dump_is_restored_at_every_stage(place: Place, tier: str) -> None:
    """Reverted and contracted."""
    live, plan = place.databases[tier], [change.name for change in changes.plan(tier)]
    place.forward(tier, until=plan[-1])
    for name in reversed(plan):
        with place.stages(tier, name) as stages:
            stages.revert()
    assert _differences(live, _copy(place, live, f"{tier}_reverted")) == []
    place.forward(tier, until=plan[-1])
    for name in plan:
        with place.stages(tier, name) as stages:
            stages.contract()
    assert _differences(live, _copy(place, live, f"{tier}_contracted")) == []
