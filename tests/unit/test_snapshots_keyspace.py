"""Expiry buckets: bounded in number, and left out of a comparison once they may have begun to expire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollout.snapshots.records import KeyBucket, Keyspace
from rollout.snapshots.redis.keyspace import DAY_MS, FAR_MS, MINUTE_MS, NEVER, bucket, differences

NOW = 1_700_000_000_000


def _keyspace(read_until_ms: int, functions: str = "", **buckets: int) -> Keyspace:
    held = {f"0/{name.removeprefix('t')}": KeyBucket(keys=1, sum=str(value)) for name, value in buckets.items()}
    return Keyspace(reference_ms=NOW, read_until_ms=read_until_ms, buckets=held, functions=functions)


@given(st.integers(min_value=NOW - DAY_MS, max_value=NOW + 3 * FAR_MS))
def test_a_key_outlives_the_start_of_its_bucket(expires_ms: int) -> None:
    """So a bucket that starts in the future holds no expired key."""
    start = int(bucket(expires_ms, NOW))
    assert start <= max(expires_ms, NOW)


def test_buckets_are_minutes_then_days_then_one() -> None:
    """Fine where keys expire soon, coarse beyond, one in the end."""
    assert bucket(-1, NOW) == NEVER
    assert bucket(NOW + 90_000, NOW) == str(NOW + MINUTE_MS)
    assert bucket(NOW + 36 * 3_600_000, NOW) == str(NOW + DAY_MS)
    assert bucket(NOW + 2 * FAR_MS, NOW) == bucket(NOW + 5 * FAR_MS, NOW)


def test_what_may_have_expired_is_left_out_on_both_sides() -> None:
    """A bucket that began before the later reading is not compared; one that begins after it is."""
    soon, late = f"t{NOW + MINUTE_MS}", f"t{NOW + 60 * MINUTE_MS}"
    taken = _keyspace(NOW, never=1, **{soon: 2, late: 3})
    assert differences(taken, _keyspace(NOW + 5 * MINUTE_MS, never=1, **{late: 3})) == ([], 2, 2)
    said, _, _ = differences(taken, _keyspace(NOW + 5 * MINUTE_MS, never=1, **{late: 4}))
    assert len(said) == 1
    assert "1 keys, not all alike" in said[0]


def test_missing_keys_and_other_functions_are_named() -> None:
    """Counts are said where they differ, and functions are part of the content."""
    said, _, _ = differences(_keyspace(NOW, never=1), _keyspace(NOW, functions="x"))
    assert said == [
        "Redis database 0, keys that never expire: 0 keys, the snapshot 1",
        "Redis functions are not the snapshot's",
    ]
