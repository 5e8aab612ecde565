"""The linter finds each mistake where it stands, and nothing in the changes as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edits import edit

from rollout.engine import changes
from rollout.errors import BadInput
from rollout.review import lint, scaffold, squawk

QUEUE = "003_queue_partitioning"
HERE = f"sql/queue/{QUEUE}/change.yml"
REWRITE = """change: 950_orders
kind: rewrite
summary: orders.
sources:
  - table: public.orders
{source}target:
{target}"""


@pytest.fixture
def orders(sql: Path) -> Callable[..., list[str]]:
    """Write a rewrite of public.orders with these lines under its source and its target; return what is found."""

    def written(source: str = "", target: str = "  drop: []\n", **files: str) -> list[str]:
        draft = scaffold.draft("queue", "950_orders", "public.orders")
        draft.write()
        (draft.folder / "change.yml").write_text(REWRITE.format(source=source, target=target))
        for name, text in files.items():
            (draft.folder / f"{name}.sql").write_text(text)
        return [str(f).replace("sql/queue/950_orders/", "") for f in lint.findings(["queue"], "950_orders")]

    return written


def test_nothing_is_wrong_with_the_changes_as_they_are() -> None:
    """Every change of this repository passes, with what is new."""
    assert lint.findings() == []


@pytest.mark.parametrize("kind", [k for k in scaffold.KINDS if k != "documentation"])
def test_nothing_is_wrong_with_a_new_one(sql: Path, kind: str) -> None:
    """A change as `change.new` writes it passes."""
    scaffold.draft("queue", "950_orders", "public.orders", kind).write()
    assert lint.findings(["queue"]) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    rename:", "    renam:", ['6: declaration: unknown key "renam" in sources[0] (did you mean rename?)']),
        ("kind: rewrite", "kind: [", ["4: declaration: this is not YAML: expected ',' or ']', but got ':'"]),
        ("change: 003", "change: 004", [f"1: declaration: it names '004_queue_partitioning', and its folder is '{QUEUE}'"]),
        ("IN ('warmup-processing')", "IN ('warmup-processing'",
         ["18: expression: `FOR VALUES IN ('warmup-processing'` is no SQL here: expected R_PAREN"]),
        ("FOR VALUES IN ('warmup-processing')", "FOR VALUES FROM ('a') TO ('b')",
         ["18: expression: `FOR VALUES FROM ('a') TO ('b')` is no bound of a partition by list: FOR VALUES IN (...) or DEFAULT"]),
        ("FOR VALUES IN ('warmup-processing')", "DEFAULT", ["21: expression: jobs_default is DEFAULT, and so is jobs_warmup"]),
        ("rollout.uuid_or_null(payload ->> 'tenant_id')", "rollout.uuid_or_null(payload ->> )",
         ["7: expression: `rollout.uuid_or_null(payload ->> )` is no SQL here: expected an expression, found R_PAREN"]),
        ("rollout.uuid_or_null(payload ->> 'tenant_id')", "gen_random_uuid()",
         ["7: expression: `gen_random_uuid` says something else each time it is asked, so both sides could never agree"]),
        ("rollout.uuid_or_null(payload ->> 'tenant_id')", "rollout.uuid_or_null(payload ->> 'now()' || \"user\")", []),
        ("{tenant_id: uuid}", "{tenant_id: uuid NOT}", ["11: expression: `uuid NOT` is no SQL here: expected NULL_KW"]),
        ("key: [id, queue_name]", "key: [id]",
         ["10: name: target.key lacks queue_name, and a key of a partitioned table holds what it is partitioned by"]),
        ("jobs_warmup:", "jobs_" + "w" * 60 + ":",
         [f"18: name: partition 'jobs_{'w' * 60}' has 65 bytes; Postgres keeps 63"]),
        ("jobs_warmup:", "jobs:", ["18: name: v2.jobs is made twice: also in line 5"]),
        ("jobs_warmup:", "jobs_id_queue_name_key:", ["10: name: v2.jobs_id_queue_name_key is made twice: also in line 18"]),
        ("updated: updated_at", "updated: created_at", ["6: name: created_at is made twice: also in line 6"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_declaration_is_found(sql: Path, old: str, new: str, told: list[str]) -> None:
    """One finding for one mistake, with file and line."""
    edit(sql / "queue" / QUEUE / "change.yml", old, new)
    assert [str(f) for f in lint.findings(["queue"])] == [f"{HERE}:{t}" for t in told]


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("    back: {amount: total}\n", "  columns: {total: int}\n",
         "6: name: back names amount, which the target holds as it is: it is neither in target.drop nor in target.columns"),
        ("    back: {amount: now()}\n", "  drop: [amount]\n", "6: expression: `now` says something else each time"),
        ("    back: {amount: amount}\n", "  columns: {amount: int}\n", None),
        ("    owns: 'true'\n", "  drop: []\n", "6: name: owns says which rows belong to one of several sources"),
        ("  - table: public.more\n    from: {a: b}\n", "  drop: []\n", "7: name: of several sources no column can be worked out"),
        ("  - table: public.orders\n", "  drop: []\n", "6: name: public.orders is a source twice"),
        ("", "  drop: [a]\n  columns: {a: int}\n", "7: name: a is in target.drop and in target.columns"),
        ("    rename: {" + "a" * 64 + ": a}\n", "  columns: {a: int}\n", "6: name: column 'aaaa"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_mapping_is_found(
    orders: Callable[..., list[str]], source: str, target: str, told: str | None
) -> None:
    """What the catalogue need not be asked for."""
    found = orders(source, target)
    assert [f[: len(f"change.yml:{told}")] for f in found] == ([f"change.yml:{told}"] if told else [])


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("contarct", "SELECT 1;", "contarct.sql:1: file: no stage of a rewrite reads it (did you mean contract.sql?)"),
        ("swap", "SELECT 1;", "swap.sql:1: file: it has no revert.sql: nothing takes it back"),
        ("copy_1_more", "SELECT %(after)s, 1;", "copy_1_more.sql:1: file: chunked work takes %(limit)s, and this does not"),
        ("copy_1_more", "SELECT %(after)s, %(limit)s, %(most)s, 5 %% 2;",
         "copy_1_more.sql:1: file: nothing gives %(most)s: chunked work gets after and limit"),
        ("indexes", "-- a\n-- statement\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON public.b (c);\n\n-- statement\nSELECT 1;\n",
         "indexes.sql:5: file: a part between `-- statement` lines is no CREATE INDEX CONCURRENTLY with a name"),
        ("contract", "SELECT 1;\nALTER TABLE a ADD CONSTRAINT b CHECK (c > 0);\n",
         "contract.sql:2: constraint-missing-not-valid: "),
        ("contract", "SELECT 1;\nSELEC 2;\n", "contract.sql:2: syntax-error: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_found(orders: Callable[..., list[str]], file: str, text: str, told: str) -> None:
    """A file that nothing reads, work without its placeholders, and what squawk says, at its line."""
    assert orders(**{file: text})[0].startswith(told)


def test_a_file_without_its_undo_is_found(sql: Path) -> None:
    """Of a change that is its files: expand without discard, swap without revert."""
    draft = scaffold.draft("queue", "950_orders", kind="function")
    draft.write()
    (draft.folder / "discard.sql").rename(draft.folder / "swap.sql")
    assert [str(f).partition(": file: ")[2] for f in lint.findings(["queue"], "950_orders")] == [
        "it has no discard.sql: nothing takes it back", "it has no revert.sql: nothing takes it back",
    ]  # fmt: skip


def test_a_mistake_in_a_plan_is_found(sql: Path) -> None:
    """Typos, an unknown requirement, a folder that is forgotten, one that is not there: all of them at once."""
    plan = sql / "queue" / "plan.yml"
    first = "".join(plan.read_text().splitlines(keepends=True)[:5])
    for later in changes.plan("queue")[2:]:
        shutil.rmtree(later.folder)
    plan.write_text(first.replace("requires: [001", "requires: [002") + "  - change: 006_gone\n")
    (sql / "queue" / "009_forgotten").mkdir()
    known = ", ".join(sorted(p.name for p in (sql / "queue").iterdir() if p.is_dir()))
    line = len(plan.read_text().splitlines())
    required = (
        "plan.yml:5: plan: 003_queue_partitioning requires 002_cross_database_integrity, which does not stand before it"
        " (did you mean 001_cross_database_integrity?)"
    )
    assert [str(f).removeprefix("sql/queue/") for f in lint.findings(["queue"])] == [
        "009_forgotten/change.yml:1: declaration: sql/queue/009_forgotten/change.yml does not exist",
        "plan.yml:2: plan: 009_forgotten is not in the plan",
        required,
        f"plan.yml:{line}: plan: 006_gone has no folder (known: {known})",
    ]


def test_relations_of_two_changes_collide(orders: Callable[..., list[str]], sql: Path) -> None:
    """Two changes that make one name are told, unless the second one goes on with what the first one made."""
    partition = "  partition: {by: list, columns: [a], partitions: {jobs_default: DEFAULT}}\n"
    assert orders(target=partition) == [f"change.yml:7: name: v2.jobs_default is made by {QUEUE} too"]
    edit(sql / "queue" / "950_orders" / "change.yml", "public.orders", "public.jobs")
    assert lint.findings(["queue"], "950_orders") == []


def test_an_unknown_name_is_refused() -> None:
    """A change that no tier has is no clean bill."""
    with pytest.raises(BadInput, match=r"no change has the folder '003_queue' \(did you mean 003_queue_partitioning\?\)"):
        lint.findings(name="003_queue")


def test_squawk_reads_what_change_yml_may_hold() -> None:
    """The grammar of Postgres, not a part of it: what is refused here would be refused to somebody who is right."""
    texts = [
        "CASE WHEN a IS NULL THEN ARRAY[1, 2]::int[] ELSE (SELECT array_agg(x ORDER BY x) FROM unnest(b) AS x) END",
        "a @> '{\"b\": 1}'", "E'\\n' || $$x$$", "a::numeric(12,2)[]", "interval '1 day' * 3", "(r).f", "x IS DISTINCT FROM y",
        'a COLLATE "C"', "a AT TIME ZONE 'UTC'", "extract(epoch FROM a)", "x[1:2]", "a LIKE ANY (ARRAY['x'])",
        "trim(both FROM x)", '"Mixed"."Case"', "a OPERATOR(pg_catalog.+) b", "upper(a) FILTER (WHERE b)", "1_000",
        "json_value(a, '$.x')",
    ]  # fmt: skip
    assert squawk.syntax({f"{n}.sql": f"SELECT CAST(({text}) AS text)" for n, text in enumerate(texts)}) == {}
