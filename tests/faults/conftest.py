"""Options and servers of the randomised test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
    """Give each test every server that this machine has."""
    if "cluster" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--postgres")
        folders = [Path(asked)] if asked else [None, *sorted(DEBIAN.glob("*/bin"))]
        names = [f.parent.name if f else "embedded" for f in folders]
        metafunc.parametrize("cluster", folders, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A server that a test may crash."""
    running = Cluster(request.param)
    yield running
    running.stop()
