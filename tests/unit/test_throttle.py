"""Pain slows a copy smoothly, holds it at twice a limit, lets it go at the limit; and the blame is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.gauges import Reading
from rollout.engine.throttle import REST_MAX_SECONDS, REST_SHARE, SLOWEST_SHARE, Brake


def lag(seconds: float) -> Reading:
    return Reading("replica lag", seconds, 10.0, "s", "standby_1")


def test_below_the_limit_nothing_changes() -> None:
    """However long, and without any reading."""
    brake = Brake()
    for readings in ([lag(9.9)], [], [lag(10.0)]):
        brake.press(readings, 60.0)
        assert (brake.share, brake.holding, brake.why) == (REST_SHARE, False, None)


def test_over_the_limit_it_slows_step_by_step_and_eases_again() -> None:
    """The rest grows towards what the pressure asks for, without a jump, and goes back in the same way."""
    brake, shares = Brake(), []
    for _ in range(50):
        brake.press([lag(15.0)], 0.2)
        shares.append(brake.share)
    assert shares == sorted(shares) and shares[0] < 1.0
    assert shares[-1] == pytest.approx((REST_SHARE + SLOWEST_SHARE) / 2, rel=0.02)
    assert brake.why == lag(15.0) and not brake.holding
    steps = 0
    while brake.why:
        brake.press([lag(1.0)], 0.2)
        steps += 1
    assert steps > 10 and brake.share == REST_SHARE


def test_at_twice_the_limit_it_holds_until_back_at_the_limit() -> None:
    """It does not flap around the point where it begins to hold."""
    brake = Brake()
    held = []
    for seconds in (19.9, 20.0, 15.0, 10.1, 10.0, 15.0):
        brake.press([lag(seconds)], 0.2)
        held.append(brake.holding)
    assert held == [False, True, True, True, False, False]


def test_when_nothing_is_known_any_more_it_goes_on() -> None:
    """Inconclusive measures hold nothing."""
    brake = Brake()
    brake.press([lag(30.0)], 0.2)
    brake.press([], 0.2)
    assert not brake.holding


def test_the_worst_gets_the_blame() -> None:
    """Of several measures the one furthest over its own limit slows, and the seconds are its."""
    brake, files = Brake(), Reading("archive backlog", 45.0, 25.0, "files")
    brake.press([lag(11.0), files], 1000.0)
    rest = brake.rest(0.1)
    brake.press([lag(40.0), files], 0.2)
    brake.held(3.0)
    told = json.loads(json.dumps(brake.to_dict()))
    assert told["slowed_seconds"] == {"archive backlog": pytest.approx(rest - 0.1 * REST_SHARE, abs=0.01)}
    assert told["held_seconds"] == {"replica lag": 3.0}
    assert told["worst"]["replica lag"] == {"value": 40.0, "limit": 10.0, "unit": "s", "detail": "standby_1"}
    assert str(lag(12.5)) == "replica lag 12.5 s of standby_1 (limit 10 s)"


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 100))), st.floats(0, 1000))
def test_the_rest_is_bounded_whatever_is_read(seen: list[tuple[float, float]], seconds: float) -> None:
    """A rest is never negative, never longer than one may be blind, and never beyond the slowest share."""
    brake = Brake()
    for value, after in seen:
        brake.press([lag(value)], after)
        assert REST_SHARE <= brake.share <= SLOWEST_SHARE
        assert 0 <= brake.rest(seconds) <= min(REST_MAX_SECONDS, seconds * SLOWEST_SHARE)
