"""The runtime socket's client: silence is success, text is failure, and every change is read back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from traffic_fakes import FakeBalancer

from rollout.errors import Failed
from rollout.haproxy import Client


@pytest.fixture
def balancer() -> Iterator[FakeBalancer]:
    fake = FakeBalancer()
    yield fake
    fake.close()


def test_weights_are_set_and_read(balancer: FakeBalancer) -> None:
    """A weight that was set is what weights and servers show."""
    client = Client(balancer.address, "app")
    client.set_weight("green-1", 28)
    assert client.weights() == {"blue-1": 100, "blue-2": 100, "green-1": 28, "green-2": 0}
    assert client.servers()["green-1"].weight == 28


def test_text_in_reply_is_failure(balancer: FakeBalancer) -> None:
    """An unknown server is told by text only, and raises."""
    with pytest.raises(Failed, match="No such server"):
        Client(balancer.address, "app").set_weight("green-9", 1)


def test_silent_disobedience_is_noticed(balancer: FakeBalancer) -> None:
    """A change that HAProxy swallowed is caught by reading back, for weights and for states."""
    balancer.mute.add("green-1")
    client = Client(balancer.address, "app")
    with pytest.raises(Failed, match="reads back"):
        client.set_weight("green-1", 5)
    with pytest.raises(Failed, match="reads back as ready"):
        client.set_state("green-1", "drain")


def test_unknown_backend_and_closed_socket_fail(balancer: FakeBalancer) -> None:
    """Neither a wrong backend nor a dead balancer looks like an empty one."""
    with pytest.raises(Failed):
        Client(balancer.address, "nope").servers()
    balancer.close()
    with pytest.raises(Failed):
        Client("/nonexistent/haproxy.sock", "app").weights()


def test_up_needs_a_health_check(balancer: FakeBalancer) -> None:
    """A running server without a check result is not known to be up, and one in drain has no effective weight."""
    balancer.rows["blue-1"]["check"] = ""
    balancer.rows["blue-2"]["check"] = "* L7OK"
    balancer.rows["blue-2"]["admin"] = 8
    servers = Client(balancer.address, "app").servers()
    assert not servers["blue-1"].up
    assert servers["blue-2"].up and servers["blue-2"].state == "drain" and servers["blue-2"].effective_weight == 0
