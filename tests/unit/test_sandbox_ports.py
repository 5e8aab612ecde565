"""Ports of a sandbox: free, apart, and a taken one is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from rollout.errors import BadInput
from rollout.sandbox import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_chosen_ports_are_distinct_and_free() -> None:
    """Every key gets a port of its own on which a server could listen."""
    chosen = ports.choose(["a", "b", "c"])
    assert sorted(chosen) == ["a", "b", "c"]
    assert len(set(chosen.values())) == 3
    assert all(ports.free(port) for port in chosen.values())


def test_ports_of_other_sandboxes_are_avoided() -> None:
    """A port that another sandbox has recorded is not chosen, though nobody listens on it."""
    allowed = ports.choose(["a", "b"])
    everything = set(range(1, 65_536)) - set(allowed.values())
    assert set(ports.choose(["a", "b"], avoid=everything).values()) == set(allowed.values())


def test_running_out_of_ports_is_refused() -> None:
    """When no port is left the error says so."""
    with pytest.raises(BadInput, match="0 free ports"):
        ports.choose(["a"], avoid=range(1, 65_536))


def test_base_port_pins_the_ports_in_order() -> None:
    """With a base port the keys get the ports from it upwards."""
    base = ports.choose(["a"])["a"]
    assert ports.choose(["x"], base=base) == {"x": base}


def test_a_taken_base_port_is_refused_with_its_holder(taken: int) -> None:
    """The error names the port, what it is for, and the process that has it."""
    with pytest.raises(BadInput) as refused:
        ports.choose(["pg-oltp-1"], base=taken)
    assert f"port {taken} (pg-oltp-1) is taken by" in refused.value.observed
    assert str(os.getpid()) in refused.value.observed
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("base", [0, 80, 65_535, -1])
def test_a_base_port_out_of_range_is_refused(base: int) -> None:
    """Privileged ports and ports past the last are no base."""
    with pytest.raises(BadInput, match="base port"):
        ports.choose(["a", "b"], base=base)
