"""A new change validates as it is written, and the plan keeps everything it had."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rollout.engine import changes
from rollout.engine.declaration import Declaration
from rollout.errors import BadInput
from rollout.review import scaffold


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_a_new_change_validates(sql: Path, kind: str) -> None:
    """Of each kind: the folder reads, stands last in the plan, and nothing else changed."""
    before = (sql / "queue" / "plan.yml").read_text()
    scaffold.draft("queue", "005_orders", "public.orders", kind).write()
    found = changes.plan("queue")[-1]
    assert (found.name, found.declaration.kind) == ("005_orders", kind)
    assert (sql / "queue" / "plan.yml").read_text() == before + "  - change: 005_orders\n"
    assert sorted(p.name for p in (sql / "queue").iterdir() if p.suffix == ".part") == []


@pytest.mark.parametrize("table", ["public.orders", "We ird.Or: #ders", 'a."b', "public.on"])
def test_what_is_commented_out_validates_too(table: str) -> None:
    """Every key that the comments of a rewrite show is one that the schema knows, whatever the table's name."""
    text = scaffold.draft("queue", "005_orders", table).files["change.yml"]
    assert yaml.safe_load(text)["sources"][0]["table"] == table
    all_of_it = re.sub(r"(?m)^( *)# (?=\s*[\w-]+:)", r"\1", text)
    found = Declaration.model_validate(yaml.safe_load(all_of_it))
    assert found.target.partition is not None
    assert found.sources[0].back == {"amount": "total"}


@pytest.mark.parametrize(
    ("before", "where"),
    [
        ("tier: queue # t\nchanges:\n- change: 001_a # one\n@# end\n", "- change: 005_x\n"),
        ("changes:\n    - change: 001_a\n      requires: []@", "\n    - change: 005_x\n"),
        ("changes:\n  # first\n  - change: 001_a\n@\n# then\ntier: queue\n", "  - change: 005_x\n"),
        ("changes: [@] # none yet\n", "{change: 005_x}"),
        ("changes: [{change: 001_a}@]\n", ", {change: 005_x}"),
    ],
)
def test_a_plan_keeps_its_comments(before: str, where: str) -> None:
    """The line goes behind the last change (at the @), in the plan's own layout."""
    whole = before if "tier:" in before else "tier: queue\n" + before
    assert scaffold._ordered(whole.replace("@", ""), "005_x") == whole.replace("@", where)


@pytest.mark.parametrize(
    ("tier", "name", "table", "kind", "told"),
    [
        ("queu", "005_orders", "public.orders", "rewrite", r"unknown tier 'queu' \(did you mean queue\?\)"),
        ("", "005_orders", "public.orders", "rewrite", "no tier named"),
        ("queue", "005_orders", "public.orders", "rewrit", r"unknown kind 'rewrit' \(did you mean rewrite\?\)"),
        ("queue", "", "public.orders", "rewrite", r"no name .*\n.*--name \d{3}_orders"),
        ("queue", "5_orders", "public.orders", "rewrite", "'5_orders' is no name of a change"),
        ("queue", "005_Orders", "public.orders", "rewrite", "is no name of a change"),
        ("queue", "005_" + "o" * 60, "public.orders", "rewrite", "at most 63 bytes"),
        ("queue", "003_queue_partitioning", "public.jobs", "rewrite",
         r"queue has 003_queue_partitioning already\n.*--name \d{3}_queue_p"),
        ("queue", "003_orders", "public.orders", "rewrite", r"number of 003_queue_partitioning is taken\n.*--name \d{3}_orders"),
        ("queue", "002_orders", "public.orders", "rewrite", "number of 002_content_consolidation is taken"),
        ("queue", "005_orders", "", "rewrite", "a rewrite is of a table"),
        ("queue", "005_orders", "orders", "backfill", "'orders' is not schema.name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(sql: Path, tier: str, name: str, table: str, kind: str, told: str) -> None:
    """A name or a number that is taken or no name, an unknown tier or kind, and no table: nothing is written."""
    with pytest.raises(BadInput, match=told):
        scaffold.draft(tier, name, table, kind)
    assert not (sql / "queue" / name).exists() or name == "003_queue_partitioning" or not name


def test_a_change_of_several_tiers_bears_one_name(sql: Path) -> None:
    """The name of another tier's change may be used again, with its number."""
    scaffold.draft("oltp", "002_content_consolidation", kind="ddl").write()
    assert changes.plan("oltp")[-1].name == "002_content_consolidation"


def test_nothing_stays_of_what_fails(sql: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the plan cannot be written the folder goes again."""
    made = scaffold.draft("queue", "005_orders", "public.orders")
    monkeypatch.setattr(scaffold.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        made.write()
    assert not made.folder.exists()
    assert len(changes.plan("queue")) == 2
