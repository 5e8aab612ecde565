"""Servers that several files of engine tests share: one of each major version found, which tests may upset."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_servers import Cluster, majors

from rollout.environment import Database


@pytest.fixture(scope="session", params=list(majors().items()), ids=[f"postgres-{name}" for name in majors()])
def cluster(_binaries: None, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Start a cluster of each version in turn."""
    running = Cluster(request.param[1])
    yield running
    running.stop()


@pytest.fixture
def target(cluster: Cluster) -> Iterator[Database]:
    """Give an empty database of its own to a test; afterwards it is gone, with whoever is in it."""
    made = cluster.database()
    yield made
    cluster.drop(made)
