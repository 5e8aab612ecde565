"""The line behind a session: who is in it, since when, and until when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.waiters import Line, Waits

US = 1


def row(pid: int, waited_ms: float | None, *behind: int) -> dict[str, Any]:
    return {"pid": pid, "waited_ms": waited_ms, "behind": list(behind)}


def test_a_wait_is_measured_from_its_start_to_our_letting_go() -> None:
    """Two who wait until the end, one of them behind the other."""
    line = Line(US, asked=10.0)
    line.look(10.1, [row(2, 50.0, US), row(3, 10.0, 2)])
    assert line.close(10.2) == Waits(2, pytest.approx(150), pytest.approx(150 + 110))


def test_who_gives_up_or_gets_through_counts_until_then() -> None:
    """A wait that a later look no longer sees ends with that look, and a second one of the same session counts anew."""
    line = Line(US, asked=0.0)
    line.look(0.1, [row(2, 20.0, US)])
    line.look(0.2, [])
    line.look(0.3, [row(2, 0.0, US)])
    assert line.close(0.35) == Waits(2, pytest.approx(120), pytest.approx(170))


def test_what_was_waited_before_we_asked_is_not_ours() -> None:
    """Somebody who waited for another before, and now for us, counts from when we asked."""
    line = Line(US, asked=5.0)
    line.look(5.1, [row(2, 3000.0, 9, US)])
    assert line.close(5.2).longest_ms == pytest.approx(200)


def test_others_and_we_ourselves_do_not_count() -> None:
    """Who waits for somebody else is not ours; that we wait is no stall of a client; a circle ends."""
    line = Line(US, asked=0.0)
    line.look(0.1, [row(US, 50.0, 8), row(2, 50.0, 9), row(9, 50.0, 2), row(8, 1.0, 2)])
    assert line.close(0.2) == Waits()


def test_a_wait_that_has_just_begun_has_no_start_yet() -> None:
    """Its start is then the look."""
    line = Line(US, asked=0.0)
    line.look(0.1, [row(2, None, US)])
    assert line.close(0.11).longest_ms == pytest.approx(10)


@given(st.lists(st.lists(st.tuples(st.integers(1, 6), st.floats(0, 1e5), st.lists(st.integers(1, 6), max_size=3)), max_size=5)))
def test_whatever_is_seen_the_figures_fit_together(looks: list[list[tuple[int, float, list[int]]]]) -> None:
    """No wait is longer than the attempt, the sum is at most all sessions' whole attempt, none is negative."""
    line = Line(US, asked=0.0)
    for number, seen in enumerate(looks):
        line.look(float(number), [row(pid, waited, *behind) for pid, waited, behind in seen])
    end = float(len(looks))
    waits = line.close(end)
    assert 0 <= waits.longest_ms <= end * 1000
    assert waits.longest_ms <= waits.sum_ms <= waits.sessions * waits.longest_ms or waits.sessions == 0
