"""Options and servers of the randomised test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from cases import seeds
from cluster import Cluster

DEBIAN = Path("/usr/lib/postgresql")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a person ask for more than scripts/test does."""
    group = parser.getgroup("faults")
    group.addoption("--rounds", type=int, default=0, help="random cases to play, new ones each time (0: the fixed few)")
    group.addoption("--seed", type=int, default=0, help="what the random cases begin from (0: the clock)")
    group.addoption(
        "--postgres", default="", help="bin folder of the only server to play on (default: every one found)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test every server that this machine has; a kept case one of them in turn, unless more is asked for."""
    if "cluster" not in metafunc.fixturenames:
        return
    asked = metafunc.config.getoption("--postgres")
    folders = [Path(asked)] if asked else [None, *sorted(DEBIAN.glob("*/bin"))]
    if "path" not in metafunc.fixturenames:
        metafunc.parametrize("cluster", folders, ids=map(_name, folders), indirect=True, scope="session")
        return
    pairs = list(product(folders, seeds()))
    if not metafunc.config.getoption("--rounds"):
        pairs = [(folders[number % len(folders)], path) for number, path in enumerate(seeds())]
    ids = [f"{_name(folder)}-{path.stem}" for folder, path in pairs]
    metafunc.parametrize(("cluster", "path"), pairs, ids=ids, indirect=["cluster"], scope="session")


def _name(folder: Path | None) -> str:
    return folder.parent.name if folder else "embedded"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server that a test may crash."""
    running = Cluster(request.param)
    yield running
    running.stop()
