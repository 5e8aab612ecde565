"""Servers and databases that several files share: engine tests, tests of row security, tests of monitoring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_servers import Cluster, majors
from monitored import Place as Monitored
from secured import Place as Secured
from servers import Server, superuser

from rollout.environment import TIERS, Database


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


@pytest.fixture(scope="session")
def secured(server: Server) -> Secured:
    """A database a tier, everything swapped and row security on; each test leaves it as it was."""
    made = Secured.seeded(server)
    for tier in TIERS:
        made.forward(tier)
    return made


@pytest.fixture(scope="session")
def monitored(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """Four databases with 007 expanded; each test cares for its own rows."""
    made = Monitored(server, tmp_path_factory.mktemp("monitoring"))
    yield made
    made.balancer.close()
    with superuser(server.port) as connection:
        connection.execute("DROP ROLE reader")


@pytest.fixture
def queue(monitored: Monitored) -> Iterator[Monitored]:
    """The same, with no job and no alert in the queue."""
    monitored.do(
        "queue", "DELETE FROM jobs; DELETE FROM queue_alerts; UPDATE queue_alert_thresholds SET alert_enabled = true"
    )
    yield monitored
    monitored.do("queue", "DELETE FROM jobs; DELETE FROM queue_alerts")
