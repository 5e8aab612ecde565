"""What gauges work out by themselves: a lag that nobody reports, checkpoints of a minute, segments between two names."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.engine.gauges import MEASURES, Checkpoints, Replicas, gauges, segments_between
from rollout.engine.probe import Probe
from rollout.environment import Settings


def test_a_replica_that_stands_still_lags_by_when_the_next_byte_was_written() -> None:
    """The primary passes 100 between 10 and 11; at 20 a replica at 100 lags since 11, one that is level not at all."""
    replicas = Replicas(())
    replicas._written.extend([(10.0, 100.0), (11.0, 150.0), (15.0, 150.0), (20.0, 900.0)])
    assert replicas.lag(20.0, 100.0, None) == pytest.approx(9.0)
    assert replicas.lag(20.0, 150.0, None) == pytest.approx(0.0)
    assert replicas.lag(20.0, 100.0, 30.0) == pytest.approx(30.0)
    assert replicas.lag(20.0, 900.0, 30.0) == 0.0
    assert Replicas(()).lag(20.0, 5.0, None) == 0.0


def test_checkpoints_count_for_a_minute() -> None:
    """What was counted before the first look, or more than a minute ago, is past."""
    gauge = Checkpoints()
    assert [gauge.recent(at, count) for at, count in ((0, 7), (10, 8), (50, 10), (69, 10), (71, 10), (200, 11))] == [
        0, 1, 3, 3, 2, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("archived", "current", "between"),
    [
        ("000000010000000000000003", "000000010000000000000004", 0), ("000000010000000000000003", "000000010000000000000009", 5),
        ("0000000100000000000000FF", "000000020000000100000003", 3), ("000000010000000000000003.00000028.backup",
                                                                      "000000010000000000000005", 1),
        (None, "000000010000000000000005", None), ("00000002.history", "000000020000000000000005", None),
    ],
)  # fmt: skip
def test_segments_between_names(archived: str | None, current: str, between: int | None) -> None:
    """Over the end of a log file, after a backup label, and unknown where there is nothing to go by."""
    assert segments_between(archived, current, 16 * 2**20) == between


def test_only_what_has_a_limit_is_read() -> None:
    """A null, or a setting that is left out, reads nothing; every limit of the settings has a measure."""
    stated: dict[str, Any] = {"throttle_replica_lag_max_mib": 5.0, "throttle_slot_backlog_max_mib": None}
    assert [type(gauge) for gauge in gauges(stated.get, ["public.t"])] == [Replicas]
    limits = {name for name in Settings.model_fields if name.startswith("throttle_") and "_max_" in name}
    assert limits == set(MEASURES) | {"throttle_hold_max_seconds"}


def test_latency_is_what_a_fifth_exceeds() -> None:
    """One slow probe of ten is chance, three are pain; too few say nothing."""
    probe = Probe("change", ["public.t"])
    assert probe.latency_ms() is None
    probe._last.extend([1.0] * 9 + [500.0])
    assert probe.latency_ms() == 1.0
    probe._last.extend([400.0, 300.0])
    assert probe.latency_ms() == 300.0
