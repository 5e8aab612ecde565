"""What a reviewer is shown is what runs, showing it leaves nothing behind, and the outlook says what is in the way."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers import Server, database, postgres_binaries, superuser

from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import Database, Settings
from rollout.errors import BadInput, Failed, Refused
from rollout.review import outlook, parts, scaffold, script

SETTINGS = {"stall_budget_total_ms": 5000, "stall_budget_once_ms": 500, "lock_attempts_max": 30, "chunk_target_ms": 20,
            "blocker_transaction_max_seconds": 1.0, "blocker_wait_max_seconds": 5.0, "terminate_blockers": False,
            "throttle_probe_latency_max_ms": None, "throttle_replica_lag_max_seconds": None,
            "throttle_replica_lag_max_mib": None, "throttle_ignored_replicas": [], "throttle_slot_backlog_max_mib": None,
            "throttle_archive_backlog_max_files": None, "throttle_wal_rate_max_mib_per_second": None,
            "throttle_dead_rows_max_percent": None, "throttle_oldest_xmin_max_transactions": None,
            "throttle_checkpoints_requested_max_per_minute": None, "throttle_hold_max_seconds": 60.0}  # fmt: skip
TIERS = ("content", "queue", "olap")
# Everything that a rendering could leave: relations, schemas, functions, types, triggers, constraints, comments, grants.
CATALOGUE = """
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('%s %s %s %s', relnamespace::regnamespace, relname, relkind, relacl) AS line FROM pg_class
    UNION ALL SELECT format('%s %s', nspname, nspacl) FROM pg_namespace
    UNION ALL SELECT format('%s %s', pronamespace::regnamespace, oid::regprocedure) FROM pg_proc
    UNION ALL SELECT format('%s %s', typnamespace::regnamespace, typname) FROM pg_type
    UNION ALL SELECT format('%s %s', tgrelid::regclass, tgname) FROM pg_trigger
    UNION ALL SELECT format('%s %s', conrelid::regclass, conname) FROM pg_constraint
    UNION ALL SELECT format('%s %s %s', objoid, objsubid, description) FROM pg_description
) AS all_of_it
"""
# What a reviewer need not see: the ledger's own rows, locks and limits (worded in another way), and what only reads.
BOOKKEEPING = re.compile(
    r"^(LOCK TABLE|SET |EXECUTE|PREPARE|SELECT (to_regclass|current_|i.indisv))|change = %s|set_config"
    r"|rollout\.(fence|changes|shapes|events|checkpoints|controls)|rejects (SET|WHERE)|dirty WHERE id"
    r"|pg_(locks|stat|class|attribute|settings|blocking|prepared|roles|trigger)"
)
WHOLE = "SELECT count(*) AS rows, sum("  # a side of a range without bounds: the rendering shows one between two keys
FRESH = """
INSERT INTO v2.campaign_performance_freshness VALUES (true, now(), now(), 0, 0, '0') ON CONFLICT DO NOTHING;
REFRESH MATERIALIZED VIEW v2.campaign_performance_mv;
"""


class Place:
    """A database of a tier as found with rows, and the tier's rewrite."""

    def __init__(self, server: Server, tier: str) -> None:
        self.server, self.tier = server, tier
        self.target: Database = database(server, tier, server.database(tier), server.port)
        rows = Path(__file__).with_name("engine_rows.sql").read_text().partition(f"-- statement {tier}\n")[2]
        self.do(rows.partition("-- statement")[0] or "SELECT")
        (self.first, self.change, *_) = changes.plan(tier)

    def do(self, statement: str) -> Any:
        """Run a statement as the runner and return its first value, if it has one."""
        with psycopg.connect(self.target.conninfo(), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            row = done.fetchone() if done.description else None
        return row[0] if row else None

    def catalogue(self) -> str:
        """Return a picture of the catalogue."""
        with superuser(self.server.port, self.target.dbname) as connection:
            row = connection.execute(CATALOGUE).fetchone()
        return str(row[0]) if row else ""

    def require(self) -> None:
        """Expand what the change requires."""
        with ledger.connect(self.target) as connection:
            Stages(connection, self.first, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS)).expand()

    @contextmanager
    def stages(self) -> Iterator[Stages]:
        """Give the stages under a fence."""
        with ledger.connect(self.target) as connection:
            yield Stages(connection, self.change, ledger.Fence("run", 1), Settings.model_construct(**SETTINGS))

    def psql(self, *texts: str) -> None:
        """Run SQL as a person would; the first error ends it."""
        argv = [postgres_binaries() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.target.conninfo(), "-f", "-"]
        done = subprocess.run(argv, input="\n".join(texts), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def look(self) -> outlook.Ahead:
        """Return the outlook of the change, asked in a session that cannot write."""
        with ledger.connect(self.target) as connection:
            connection.execute("SET default_transaction_read_only = on")
            return outlook.look(connection, self.change)


@pytest.fixture(params=TIERS)
def place(request: pytest.FixtureRequest, server: Server) -> Place:
    """Give each tier with a rewrite in turn."""
    return Place(server, request.param)


@pytest.fixture
def queue(server: Server) -> Place:
    """Give the queue alone, where one tier is enough."""
    return Place(server, "queue")


def sections(text: str) -> dict[str, str]:
    """Split a rendering at its headings; one that comes again gets a number."""
    found = re.split(r"(?m)^-- =+ (.+)$", text)
    made: dict[str, str] = {}
    for name, body in zip(found[1::2], found[2::2], strict=True):
        made[f"{name} 2" if name in made else name] = body
    return made


def squeezed(text: str) -> str:
    """Return SQL as what matters of it: no blanks, semicolons or comments."""
    return re.sub(r"[\s;]+", "", re.sub(r"(?m)^--.*$", "", text))


def test_rendering_leaves_nothing_behind_and_runs(place: Place) -> None:
    """The catalogue is as it was, and the text goes there, back, there again and home when psql runs it."""
    before = place.catalogue()
    text = sections(script.render(place.target, place.change))
    assert place.catalogue() == before
    own = {"content": ["copy chunk", "build", "validate", "copy chunk 2"], "queue": ["copy chunk", "build", "validate"],
           "olap": ["indexes", "copy chunk", "validate"]}[place.tier]  # fmt: skip
    assert list(text) == ["make", "arm", *own, "compare", "swap", "compare, swapped", "revert", "contract", "discard"]
    place.require()
    there = [text[name] for name in text if name not in ("compare, swapped", "revert", "contract", "discard")]
    if place.tier == "olap":
        there.insert(-1, FRESH)
    place.psql(*there, text["compare, swapped"], text["revert"], text["swap"], text["contract"])
    home = {"content": "email_messages", "queue": "jobs", "olap": "billing_analytics"}[place.tier]
    assert place.do(f"SELECT to_regclass('public.{home}') IS NOT NULL AND to_regclass('v2.{home}') IS NULL")


def test_what_runs_is_what_is_shown(place: Place) -> None:
    """Every statement that the stages send and that is no bookkeeping stands in the rendering."""
    shown = squeezed(script.render(place.target, place.change))
    place.require()
    sent: list[str] = []
    with place.stages() as stages:
        execute = stages.connection.execute

        def recorded(query: Any, *args: Any, **options: Any) -> Any:
            text = query.decode() if isinstance(query, bytes) else query if isinstance(query, str) else query.as_string()
            if not BOOKKEEPING.search(text) and not text.startswith(WHOLE):
                sent.append(parts.bound(text) if args else text)
            return execute(query, *args, **options)

        stages.connection.execute = recorded  # type: ignore[method-assign]
        for stage in ("expand", "swap", "revert", "discard", "expand", "swap", "contract"):
            getattr(stages, stage)()
            if stage == "expand" and place.tier == "olap":
                place.do(FRESH)
    assert len(sent) > 20
    assert [text for text in sent if squeezed(text) not in shown] == []


def test_of_an_expanded_change_the_rest_is_rendered(queue: Place) -> None:
    """From the shape that the ledger holds, without touching anything; of a contracted one there is nothing left."""
    fresh = sections(script.render(queue.target, queue.change))
    with queue.stages() as stages:
        stages.expand()
        before = queue.catalogue()
        text = sections(script.render(queue.target, queue.change))
        assert queue.catalogue() == before
        assert "The shadow v2.jobs stands here already and is compared by run run" in text["make"]
        assert {name: text[name] for name in text if name != "make"} == {name: fresh[name] for name in fresh if name != "make"}
        stages.swap()
        stages.contract()
    with pytest.raises(BadInput, match="is contracted here"):
        script.render(queue.target, queue.change)


def test_a_change_of_files_is_rendered(queue: Place) -> None:
    """Its files behind what they include, with their locks."""
    text = sections(script.render(queue.target, queue.first))
    assert list(text) == ["expand", "contract", "discard"]
    assert "rollout.document_reference" in text["expand"]
    with queue.stages():  # installs the ledger
        pass
    queue.psql(text["expand"], text["discard"])


def test_what_cannot_be_made_is_refused(queue: Place, tmp_path: Path) -> None:
    """A rule on the table is refused by name, a broken shadow.sql by what Postgres says; nothing stays of either."""
    folder = tmp_path / queue.change.name
    folder.mkdir()
    for path in queue.change.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "shadow.sql").write_text("CREATE INDEX broken ON v2.jobs (no_such_column);\n")
    before = queue.catalogue()
    with pytest.raises(Failed, match=r'003_queue_partitioning cannot be made here.*: column "no_such_column" does not exist'):
        script.render(queue.target, changes.load("queue", folder))
    assert queue.catalogue() == before
    queue.do("CREATE RULE nothing AS ON DELETE TO jobs DO INSTEAD NOTHING")
    with pytest.raises(Refused, match="rule nothing on it"):
        script.render(queue.target, queue.change)


def test_the_outlook_follows_the_change(queue: Place) -> None:
    """What would be locked and how much there is before, between and after; it writes nothing, not even a ledger."""
    before = queue.catalogue()
    queue.do("ANALYZE jobs")
    ahead = queue.look()
    assert queue.catalogue() == before
    assert (ahead.kind, ahead.stage, ahead.refused) == ("rewrite", None, [])
    assert ahead.expand == {"SHARE ROW EXCLUSIVE": ["public.jobs", "public.job_queues"]}
    assert ahead.swap == {"ACCESS EXCLUSIVE": ["public.jobs", "v2.jobs", "public.job_logs"]}
    assert ahead.tables["public.jobs"]["rows"] == queue.do("SELECT count(*) FROM jobs")
    with queue.stages() as stages:
        stages.expand()
        expanded = queue.look()
        assert (expanded.stage, expanded.expand, expanded.swap) == ("compared", {}, ahead.swap)
        assert sorted(expanded.tables) == ["public.jobs", "v2.jobs"]
        stages.swap()
        assert (queue.look().swap, list(queue.look().tables)) == ({}, ["v2.jobs"])
        stages.contract()
        assert queue.look() == outlook.Ahead(queue.change.name, "rewrite", "contracted")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE RULE nothing AS ON DELETE TO jobs DO INSTEAD NOTHING", "public.jobs: rule nothing on it"),
        ("CREATE SCHEMA v2 CREATE TABLE jobs ()", "v2.jobs exists and is no shadow of 003_queue_partitioning"),
        ("ALTER TABLE jobs RENAME COLUMN created TO made", "public.jobs: rename names created, which it does not have"),
        ("ALTER TABLE jobs DROP CONSTRAINT jobs_pkey CASCADE",
         "public.jobs: 0 unique indexes could be its key, and none is a usable primary key"),
        ("DROP TABLE jobs CASCADE", "public.jobs does not exist"),
    ],
)  # fmt: skip
def test_the_outlook_names_what_refuses(queue: Place, statement: str, told: str) -> None:
    """Before anything is expanded."""
    queue.do(statement)
    assert queue.look().refused == [told]


def test_the_outlook_sees_what_changed_since(queue: Place) -> None:
    """A table or files that changed under an expanded change would keep it from being swapped."""
    with queue.stages() as stages:
        stages.expand()
    queue.do("ALTER TABLE jobs ADD COLUMN more int; UPDATE rollout.changes SET sha256 = 'other'")
    refused = queue.look().refused
    assert "public.jobs is not as it was found: column more is additional" in refused
    assert refused[-1] == "its files changed since it was expanded here"


@pytest.mark.parametrize("kind", ["ddl", "index", "function"])
def test_a_new_change_runs_as_it_is_written(queue: Place, tmp_path: Path, kind: str) -> None:
    """Files of comments alone are no error: rendered, expanded and discarded."""
    folder = tmp_path / "950_orders"
    folder.mkdir()
    for name, text in scaffold.draft("queue", "950_orders", "public.orders", kind).files.items():
        (folder / name).write_text(text)
    queue.change = changes.load("queue", folder)
    assert script.render(queue.target, queue.change)
    with queue.stages() as stages:
        assert stages.expand().stage == "compared"
        assert stages.discard().changed
