"""The seeder's shapes, its SQL files and the rule for Redis lists, without servers."""

from __future__ import annotations

import re

import pytest

from rollout import seed
from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput
from rollout.seed.shape import Shape
from rollout.seed.statements import statements, text

PARAMETER = re.compile(r"(?<!%)%\((\w+)\)s")


def test_the_default_scale_is_the_promised_one() -> None:
    """Scale 1 is 100,000 message keys, 2,000 of them in both tables, 200,000 jobs and 50 tenants."""
    rows = seed.shape(1, 1)
    assert (rows.contents, rows.email_messages, rows.inbox_refs, rows.jobs, rows.tenants) == (
        100_000,
        60_000,
        42_000,
        200_000,
        50,
    )
    assert rows.email_messages + rows.inbox_refs - rows.contents == 2_000 == rows.email_messages - rows.first_ref


@pytest.mark.parametrize("scale", [0.0001, 0.02, 0.3, 1, 10, 100])
def test_no_kind_of_row_is_ever_missing(scale: float) -> None:
    """Every number is positive at every scale, and the ranges of jobs add up."""
    rows = seed.shape(scale, 1)
    assert all(n > 0 for n in rows.numbers().values())
    waiting = rows.jobs_scheduled + rows.jobs_ready + rows.jobs_processing + rows.jobs_migrated
    assert rows.jobs_finished + waiting == rows.jobs
    assert rows.first_ref + rows.inbox_refs == rows.contents


def test_the_backlog_does_not_grow_with_history() -> None:
    """What waits at scale 100 is what waits at scale 1, scheduled jobs apart."""
    one, hundred = seed.shape(1, 1), seed.shape(100, 1)
    assert (one.jobs_ready, one.jobs_processing, one.jobs_migrated) == (
        hundred.jobs_ready,
        hundred.jobs_processing,
        hundred.jobs_migrated,
    )
    assert hundred.jobs_scheduled == 100 * one.jobs_scheduled


@pytest.mark.parametrize(
    ("scale", "number"), [(0, 1), (-1, 1), (1001, 1), (float("nan"), 1), (float("inf"), 1), (1, -1), (1, 2**31)]
)
def test_a_scale_or_seed_out_of_range_is_refused(scale: float, number: int) -> None:
    """Nothing is seeded from a scale or seed that cannot be kept."""
    with pytest.raises(BadInput):
        seed.shape(scale, number)


@pytest.mark.parametrize("tier", TIERS)
def test_statements_fill_tables_of_the_baseline_and_can_be_repeated(tier: str) -> None:
    """Each statement names a table that exists, numbers that Shape has, and leaves standing rows alone."""
    tables = set(re.findall(r"^create table (\w+)", (ROOT / "sql" / tier / "baseline.sql").read_text(), re.MULTILINE))
    names = set(Shape.__dataclass_fields__) | {"low", "high"}
    found = statements(tier)
    assert found
    for statement in found:
        assert statement.table in tables
        assert statement.count in names
        assert set(PARAMETER.findall(statement.text)) <= names
        assert "on conflict do nothing" in statement.text
        assert "now()" not in statement.text and "random" not in statement.text
    unfilled = tables - {s.table for s in found}
    assert unfilled == ({"job_queues", "job_logs"} if tier == "queue" else set())


def test_functions_use_numbers_that_the_shape_has() -> None:
    """The placeholders of the session functions are fields of Shape."""
    for name in ("functions", "messages"):
        assert set(re.findall(r"\{(\w+)\}", text(name))) <= set(Shape.__dataclass_fields__)


@pytest.mark.parametrize("tier", TIERS)
def test_the_baseline_has_no_column_of_the_target_state(tier: str) -> None:
    """As found, timestamps are `created` and `updated`, and nothing is partitioned."""
    baseline = (ROOT / "sql" / tier / "baseline.sql").read_text()
    assert not re.search(r"\b(created|updated)_at\b", baseline)
    assert "partition by" not in baseline


@pytest.mark.parametrize(
    ("queue", "priority", "key"),
    [
        ("email-sending", 50, "queue:email-sending:high"),
        ("email-sending", 51, "queue:email-sending"),
        ("email-sending", 150, "queue:email-sending"),
        ("email-sending", 151, "queue:email-sending:low"),
        ("email-sending:high", 50, "queue:email-sending:high"),
        ("email-sending:high", 200, "queue:email-sending:high"),
        ("email-sending:low", 10, "queue:email-sending:low"),
    ],
)
def test_a_job_has_one_list(queue: str, priority: int, key: str) -> None:
    """The list follows the priority unless the queue's own name says it."""
    assert seed.list_key(queue, priority) == key
