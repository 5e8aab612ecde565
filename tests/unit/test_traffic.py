"""Weights are exact, shifts refuse servers that do not serve, and no order of commands leaves nothing serving."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic_fakes import FakeBalancer, environment

from rollout import traffic
from rollout.errors import Failed, Refused


@pytest.fixture
def balancer() -> Iterator[FakeBalancer]:
    fake = FakeBalancer()
    yield fake
    fake.close()


@given(st.integers(0, 100), st.integers(1, 2), st.integers(1, 2))
def test_plan_is_exact(percent: int, blue: int, green: int) -> None:
    """Whatever the percentage and the fleet, reduced weights that fit give exactly the percentage."""
    to_blue, to_green = traffic.plan(percent, blue, green)
    assert 0 <= to_blue <= 256 and 0 <= to_green <= 256
    assert Fraction(to_green * green, to_green * green + to_blue * blue) == Fraction(percent, 100)


@given(st.integers(1, 99), st.integers(1, 60), st.integers(1, 60))
def test_plan_never_drops_a_colour(percent: int, blue: int, green: int) -> None:
    """A share above zero never rounds to weight zero, and weights stay in HAProxy's range."""
    assert all(1 <= w <= 256 for w in traffic.plan(percent, blue, green))


def test_shift_reads_back_and_repeats(balancer: FakeBalancer, tmp_path: Path) -> None:
    """Each step gives exactly its share, nothing is ever without weight, and a repeat sends no command."""
    env = environment(tmp_path, balancer.address)
    for percent in (10, 25, 50, 100, 0):
        assert traffic.shift(env, percent).after == percent
        assert traffic.split(env).percent == percent
    assert min(balancer.totals) > 0
    balancer.commands.clear()
    assert traffic.shift(env, 0).before == 0 and not balancer.changes()


def test_shift_refuses_a_dead_receiver(balancer: FakeBalancer, tmp_path: Path) -> None:
    """Green down, drained or unchecked gets no traffic, and nothing was changed."""
    env = environment(tmp_path, balancer.address)
    for broken in ({"op": 0}, {"admin": 8}, {"check": ""}):
        kept = dict(balancer.rows["green-2"])
        balancer.rows["green-2"].update(broken)
        with pytest.raises(Refused, match="green-2"):
            traffic.shift(env, 10)
        balancer.rows["green-2"] = kept
    assert not balancer.changes()


def test_to_blue_works_with_dead_green_and_half_of_blue(balancer: FakeBalancer, tmp_path: Path) -> None:
    """Rollback's first act needs one living blue server, nothing of green; drained blue is made ready; it repeats."""
    env = environment(tmp_path, balancer.address)
    traffic.shift(env, 100)
    for name, row in balancer.rows.items():
        row["op"] = 2 if name == "blue-2" else 0
    balancer.rows["blue-2"]["admin"] = 8
    assert traffic.to_blue(env).after == 0
    assert traffic.to_blue(env).before == 0
    assert balancer.rows["green-1"]["weight"] == 0


def test_to_blue_without_blue_keeps_green(balancer: FakeBalancer, tmp_path: Path) -> None:
    """With no blue server up green keeps its weight, and the person is told."""
    env = environment(tmp_path, balancer.address)
    traffic.shift(env, 100)
    balancer.rows["blue-1"]["op"] = balancer.rows["blue-2"]["op"] = 0
    with pytest.raises(Failed, match="no blue server is up"):
        traffic.to_blue(env, deadline=0.1)
    assert balancer.rows["green-1"]["weight"] > 0


def test_drain_is_bounded_and_tells_what_is_left(balancer: FakeBalancer, tmp_path: Path) -> None:
    """A session that does not end is reported after the deadline; draining the last colour is refused."""
    env = environment(tmp_path, balancer.address)
    balancer.rows["green-1"]["scur"] = 3
    assert traffic.drain(env, "green", 0.1).left == {"green-1": 3}
    with pytest.raises(Refused, match="no server with traffic"):
        traffic.drain(env, "blue", 0.1)
