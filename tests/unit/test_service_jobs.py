"""Rules of the queue."""

from __future__ import annotations

import pytest

from service.jobs import _outcome, list_key, lists_of


@pytest.mark.parametrize(
    ("queue", "priority", "key"),
    [
        ("email-sending", 50, "queue:email-sending:high"),
        ("email-sending", 51, "queue:email-sending"),
        ("email-sending", 150, "queue:email-sending"),
        ("email-sending", 151, "queue:email-sending:low"),
        ("email-sending:high", 200, "queue:email-sending:high"),
        ("email-sending:low", 10, "queue:email-sending:low"),
    ],
)
def test_a_job_goes_to_the_list_of_its_priority(queue: str, priority: int, key: str) -> None:
    """The bounds are those of the product, and a queue whose name says its priority has one list."""
    assert list_key(queue, priority) == key


def test_a_worker_looks_everywhere_a_job_may_be() -> None:
    """Whatever a job's priority, the worker of its queue finds it."""
    for queue in ("email-sending", "email-sending:high", "analytics-daily"):
        assert {list_key(queue, priority) for priority in (1, 100, 200)} <= set(lists_of(queue))


@pytest.mark.parametrize(
    ("payload", "attempt", "outcome"),
    [
        ({}, 1, "completed"),
        ({"fail_times": 1}, 1, "retried"),
        ({"fail_times": 1}, 2, "completed"),
        ({"fail_times": 9}, 2, "retried"),
        ({"fail_times": 9}, 3, "dead"),
        ([], 1, "completed"),
    ],
)
def test_attempts_end_as_the_payload_says(payload: object, attempt: int, outcome: str) -> None:
    """A job fails as often as it is told to, is tried again until its attempts are used up, and then is dead."""
    assert _outcome(payload, attempt, 3) == outcome
