"""Changes and their plan are checked whole before anything runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rollout.engine import changes
from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput

QUEUE = "003_queue_partitioning"


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the repository's changes to where a test may damage them."""
    folder = tmp_path / "sql"
    shutil.copytree(ROOT / "sql", folder)
    monkeypatch.setattr(changes, "ROOT", tmp_path)
    monkeypatch.setattr(changes, "SQL", folder)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_plans_as_they_are() -> None:
    """Each tier's plan reads, and the names are the ones that were asked for."""
    found = {tier: [change.name for change in changes.plan(tier)] for tier in TIERS}
    assert found["queue"] == ["001_cross_database_integrity", QUEUE]
    assert {tier: [c.name[:3] for c in changes.plan(tier) if c.swaps] for tier in TIERS} == {
        "oltp": [], "content": ["002"], "queue": ["003"], "olap": ["004"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("summary:", "sumary:", r"sql/queue/003_queue_partitioning/change.yml is wrong at "),
        ("  contract_prepare:", "  contract_prepaer:", r"change.yml is wrong at locks.contract_prepaer"),
        ("kind: rewrite", "kind: rewrote", r"change.yml is wrong at kind"),
        ("kind: rewrite", "kind: [", r"change.yml is not YAML"),
        (f"change: {QUEUE}", "change: 003_queue", r"names '003_queue'"),
    ],
)
def test_a_typo_in_a_change_is_named(sql: Path, old: str, new: str, told: str) -> None:
    """A misspelt key or value, broken YAML or another folder's name refuses, with the place."""
    edit(sql / "queue" / QUEUE / "change.yml", old, new)
    with pytest.raises(BadInput, match=told):
        changes.plan("queue")


def test_a_forgotten_folder_is_named(sql: Path) -> None:
    """A change that no plan orders is not silently left out."""
    (sql / "queue" / "009_forgotten").mkdir()
    with pytest.raises(BadInput, match="does not order 009_forgotten"):
        changes.plan("queue")


def test_a_planned_change_must_exist(sql: Path) -> None:
    """A plan that orders a folder that is not there refuses."""
    shutil.rmtree(sql / "queue" / QUEUE)
    with pytest.raises(BadInput, match=r"003_queue_partitioning/change.yml does not exist"):
        changes.plan("queue")


@pytest.mark.parametrize("requirement", ["008_unknown", QUEUE])
def test_a_broken_requirement_is_named(sql: Path, requirement: str) -> None:
    """What a change requires must stand before it: not nowhere, and not at its own place."""
    edit(sql / "queue" / "plan.yml", "requires: [001_cross_database_integrity]", f"requires: [{requirement}]")
    with pytest.raises(BadInput, match=f"requires {requirement}, which do not stand before it"):
        changes.plan("queue")


@pytest.mark.parametrize("damage", ["byte", "rename", "added", "removed"])
def test_the_digest_sees_every_byte(sql: Path, damage: str) -> None:
    """One byte, one name, one file more or less: another digest, of the change and of the whole."""
    before, whole = changes.plan("queue")[-1].sha256, changes.digest()
    folder = sql / "queue" / QUEUE
    if damage == "byte":
        (folder / "shadow.sql").write_bytes((folder / "shadow.sql").read_bytes() + b" ")
    elif damage == "rename":
        (folder / "contract.sql").rename(folder / "contracted.sql")
    elif damage == "added":
        (folder / "indexes.sql").write_bytes(b"")
    else:
        (folder / "contract_validate.sql").unlink()
    assert changes.plan("queue")[-1].sha256 != before
    assert changes.digest() != whole


def test_statements_are_split_at_their_mark(sql: Path) -> None:
    """Each `-- statement` line begins one; parts of comments alone are none; an absent file has none."""
    change = changes.plan("queue")[-1]
    (change.folder / "indexes.sql").write_text(
        "-- head\n-- statement one\nSELECT ';-- statement';\n-- statement\n\n-- nothing\n-- statement\nSELECT 2;\n"
    )
    assert [s.strip() for s in change.statements("indexes")] == [b"SELECT ';-- statement';", b"SELECT 2;"]
    assert change.statements("no_such_stage") == []


def test_works_are_in_order(sql: Path) -> None:
    """Chunked work runs in the order of its numbers, copies apart from those of contract."""
    content = changes.plan("content")[-1]
    (content.folder / "copy_2_more.sql").write_bytes(b"")
    assert content.works("copy") == ["copy_1_orphan_parents", "copy_2_more"]
    assert content.works("contract_copy") == ["contract_copy_1_orphan_parents", "contract_copy_2_late_parents"]
