"""Changes and their plan are checked whole before anything runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from edits import edit

from rollout.engine import changes
from rollout.engine.declaration import Declaration
from rollout.environment import TIERS, Tier
from rollout.errors import BadInput

QUEUE = "003_queue_partitioning"


def _find(tier: Tier, name: str) -> changes.Change:
    return changes.find(name, [tier])[0]


def test_the_plans_as_they_are() -> None:
    """Each tier's plan reads, and the names are the ones that were asked for."""
    found = {tier: [change.name for change in changes.plan(tier)] for tier in TIERS}
    assert found["queue"][:3] == ["001_cross_database_integrity", QUEUE, "005_row_security"]
    assert {tier: [c.name[:3] for c in changes.plan(tier) if c.rewrites] for tier in TIERS} == {
        "oltp": [], "content": ["002"], "queue": ["003"], "olap": ["004"],
    }  # fmt: skip
    assert {tier: [c.name[:3] for c in changes.plan(tier) if c.secures] for tier in TIERS} == {tier: ["005"] for tier in TIERS}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("summary:", "sumary:", '3: unknown key "sumary" (did you mean summary?)'),
        ("summary:", "words:", '1: key "summary" is lacking'),
        ("  contract_prepare:", "  contract_prepaer:",
         '25: unknown key "contract_prepaer" in locks (did you mean contract_prepare?)'),
        ("    rename:", "    renam:", '6: unknown key "renam" in sources[0] (did you mean rename?)'),
        ("    from:", "    rename:", '7: key "rename" in sources[0] stands here twice (first in line 6)'),
        ("by: list", "by: lists", '13: target.partition.by is "lists" (did you mean list?)'),
        ("    columns:", "    colums:", '14: unknown key "colums" in target.partition (did you mean columns?)'),
        ("[queue_name]", "queue_name", "14: target.partition.columns should be a valid list, not 'queue_name'"),
        ("{tenant_id: uuid}", "{tenant_id: 7}", "11: target.columns.tenant_id should be a valid string, not 7"),
        ("{tenant_id: uuid}", "", "11: target.columns should be a valid dictionary, not nothing"),
        ("public.jobs", "jobs", "5: sources[0].table: table 'jobs' is not schema.name"),
        ("[public.job_logs, v2.jobs]", "[public.job_logs, jobs]",
         "25: locks.contract_prepare[1]: table 'jobs' is not schema.name"),
        ("kind: rewrite", "kind: rewrote", '2: kind is "rewrote" (did you mean rewrite?)'),
        ("kind: rewrite", "kind: ddl", "1: a rewrite names its sources, and nothing else does"),
        ("kind: rewrite", "kind: [", "4: this is not YAML: "),
        ("summary: ", "summary: @", "3: this is not YAML: found character '@' that cannot start any token"),
        (f"change: {QUEUE}", "change: 003_queue", f"1: it names '003_queue', and its folder is '{QUEUE}'"),
    ],
)  # fmt: skip
def test_a_typo_in_a_change_is_named(sql: Path, old: str, new: str, told: str) -> None:
    """A misspelt key or value, broken YAML or another folder's name refuses, with file, line and the right word."""
    edit(sql / "queue" / QUEUE / "change.yml", old, new)
    with pytest.raises(BadInput, match="^refused: " + re.escape(f"sql/queue/{QUEUE}/change.yml:{told}")):
        changes.plan("queue")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tier: queue", "tier: queu", '1: tier is "queu" (did you mean queue?)'),
        ("tier: queue", "tier: olap", "1: it is the plan of olap, in the folder of queue"),
        ("    requires:", "    require:", '5: unknown key "require" in changes[1] (did you mean requires?)'),
        ("- change: 001_cross_database_integrity", "- 001_cross_database_integrity",
         "3: changes[0] should be a mapping of keys to values, not '001_cross_database_integrity'"),
        (f"- change: {QUEUE}", "- change: 001_cross_database_integrity",
         "4: 001_cross_database_integrity stands twice in the plan"),
        ("[001_cross_database_integrity]", "[001_cross_databse_integrity]",
         (f"5: {QUEUE} requires 001_cross_databse_integrity, which does not stand before it"
          " (did you mean 001_cross_database_integrity?)")),
        ("[001_cross_database_integrity]", f"[{QUEUE}]", f"5: {QUEUE} requires {QUEUE}, which does not stand before it"),
    ],
)  # fmt: skip
def test_a_typo_in_a_plan_is_named(sql: Path, old: str, new: str, told: str) -> None:
    """A misspelt key or value, or an order that cannot be, refuses, with file, line and the right word."""
    edit(sql / "queue" / "plan.yml", old, new)
    with pytest.raises(BadInput, match="^refused: " + re.escape(f"sql/queue/plan.yml:{told}")):
        changes.plan("queue")


@pytest.mark.parametrize(
    ("written", "table", "lock"),
    [
        ("public.jobs", "public.jobs", "public.jobs"),
        ("public.Jobs", "public.Jobs", 'public."Jobs"'),
        ('public."Jobs"', "public.Jobs", 'public."Jobs"'),
        ('public."b', 'public."b', 'public."""b"'),
        ("jobs", None, None),
        ("public.a.b", "public.a.b", 'public."a.b"'),
    ],
)
def test_a_table_is_spelt_alike_wherever_it_is_named(written: str, table: str | None, lock: str | None) -> None:
    """As the catalogue has it, or quoted as in SQL: `table` and `locks` mean the same relation."""
    given = {"change": "c", "kind": "rewrite", "summary": "s", "sources": [{"table": written}], "locks": {"swap": [written]}}
    if table is None:
        with pytest.raises(ValueError, match="is not schema"):
            Declaration.model_validate(given)
        return
    found = Declaration.model_validate(given)
    assert (found.sources[0].table, found.locks.swap) == (table, [lock])


def test_several_typos_are_counted(sql: Path) -> None:
    """The first one by line is told, and how many more there are."""
    path = sql / "queue" / QUEUE / "change.yml"
    edit(path, "  contract_prepare:", "  contract_prepaer:")
    edit(path, "kind: rewrite", "kind: rewrote")
    with pytest.raises(BadInput, match=r"change.yml:2: kind is .*\n.*; 1 more: invoke change.lint"):
        changes.plan("queue")


def test_an_included_file_must_be_there(sql: Path) -> None:
    """A file of sql/shared that is not there is told with the one that is."""
    edit(sql / "queue" / "001_cross_database_integrity" / "change.yml", "references.sql", "reference.sql")
    told = r"change.yml:4: reference.sql is no file of sql/shared \(did you mean references.sql\?\)"
    with pytest.raises(BadInput, match=told):
        changes.plan("queue")


def test_a_change_is_found_by_its_name() -> None:
    """One change of that name a tier; a name that no plan has is told with the nearest one."""
    assert [c.tier for c in changes.find("001_cross_database_integrity")] == list(TIERS)
    assert [c.tier for c in changes.find(QUEUE)] == ["queue"]
    with pytest.raises(BadInput, match=r"no plan has a change '003_queue_partition' \(did you mean 003_queue_partitioning\?"):
        changes.find("003_queue_partition")


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


@pytest.mark.parametrize("damage", ["byte", "rename", "added", "removed"])
def test_the_digest_sees_every_byte(sql: Path, damage: str) -> None:
    """One byte, one name, one file more or less: another digest, of the change and of the whole."""
    before, whole = changes.find(QUEUE)[0].sha256, changes.digest()
    folder = sql / "queue" / QUEUE
    if damage == "byte":
        (folder / "shadow.sql").write_bytes((folder / "shadow.sql").read_bytes() + b" ")
    elif damage == "rename":
        (folder / "contract.sql").rename(folder / "contracted.sql")
    elif damage == "added":
        (folder / "indexes.sql").write_bytes(b"")
    else:
        (folder / "contract_validate.sql").unlink()
    assert changes.find(QUEUE)[0].sha256 != before
    assert changes.digest() != whole


def test_statements_are_split_at_their_mark(sql: Path) -> None:
    """Each `-- statement` line begins one; parts of comments alone are none; an absent file has none."""
    change = changes.find(QUEUE)[0]
    (change.folder / "indexes.sql").write_text(
        "-- head\n-- statement one\nSELECT ';-- statement';\n-- statement\n\n-- nothing\n-- statement\nSELECT 2;\n"
    )
    assert [s.strip() for s in change.statements("indexes")] == [b"SELECT ';-- statement';", b"SELECT 2;"]
    assert change.statements("no_such_stage") == []


def test_works_are_in_order(sql: Path) -> None:
    """Chunked work runs in the order of its numbers, copies apart from those of contract."""
    content = changes.find("002_content_consolidation")[0]
    (content.folder / "copy_2_more.sql").write_bytes(b"")
    assert content.works("copy") == ["copy_1_orphan_parents", "copy_2_more"]
    assert content.works("contract_copy") == ["contract_copy_1_orphan_parents", "contract_copy_2_late_parents"]
