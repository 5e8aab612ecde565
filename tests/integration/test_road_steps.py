"""Steps of the road on a real Postgres: comparisons on the way back, the census, and what preflight sees coming."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from memorystore import MemoryStore
from road_fakes import begin, context, passed
from servers import Server, database, superuser
from traffic_fakes import environment

from rollout import preflight_schema
from rollout.engine import ledger
from rollout.environment import Database
from rollout.errors import Failed, Refused
from rollout.road import census, changing
from rollout.road.context import Context
from rollout.session import Session

HOST = "pg-content-1"
CHANGE = "002_content_consolidation"
STAMP = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated := now(); RETURN NEW; END';
CREATE TRIGGER stamp BEFORE UPDATE ON email_messages FOR EACH ROW EXECUTE FUNCTION stamp()
"""
ROW = """
INSERT INTO email_content (storage_key, tenant_id)
SELECT 'key-' || n, gen_random_uuid() FROM generate_series(1, 20) AS n
"""
MESSAGE = """
INSERT INTO email_messages (storage_key, tenant_id) SELECT storage_key, tenant_id FROM email_content
"""


@dataclass
class Place:
    """One content database in an environment of its own, and a run."""

    server: Server
    target: Database
    memory: MemoryStore
    folder: Path
    session: Session | None = None

    def phase(self, name: str) -> Context:
        """Begin a phase, and return what its workers see."""
        if self.session is not None:
            self.session.release()
        self.session = begin(self.memory, name)
        if name == "rollback":
            self.session.set_fact("traffic_back", {"token": self.session.token})
        base = environment(self.folder, drain_timeout_seconds=0.3, stall_budget_total_ms=5000, stall_budget_once_ms=500)
        env = base.model_copy(update={"databases": [self.target]})
        return context(self.memory, env, self.folder, self.session)

    def do(self, statement: str) -> None:
        """Run a statement as the runner."""
        with psycopg.connect(self.target.conninfo(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def differ(self) -> None:
        """Change a row of the shadow alone."""
        self.do("UPDATE v2.email_messages SET subject = 'other' WHERE storage_key = 'key-7'")

    def stage(self) -> str | None:
        """Return the change's stage."""
        with ledger.connect(self.target) as connection:
            return ledger.stage(connection, CHANGE)


@pytest.fixture
def place(server: Server, tmp_path: Path) -> Place:
    """A content database with twenty messages, and a run whose phase 1 has passed."""
    made = Place(server, database(server, "content", server.database("content"), server.port), MemoryStore(), tmp_path)
    made.do(ROW)
    made.do(MESSAGE)
    passed(made.memory, "1")
    return made


def compared(context: Context) -> dict[str, Any]:
    """Return the fact that the checklist reads."""
    found: dict[str, Any] = context.fact(f"compared.{HOST}")
    return found


def test_a_shadow_never_swapped_does_not_lock_the_rollback(place: Place) -> None:
    """Marked mismatched by phase 2, it is discarded on the way back, said so, and the rollback goes through."""
    forward = place.phase("2")
    changing.expand(forward, HOST)
    place.differ()
    with pytest.raises(Failed, match="both sides differ"):
        changing.compare(forward, HOST)
    assert place.stage() == "mismatched"
    assert "both sides differ" in compared(forward)["changes"][CHANGE]["failed"]
    back = place.phase("rollback")
    changing.revert(back, HOST)
    assert "discarded the shadow of 002_content_consolidation" in changing.compare(back, HOST)["say"]
    assert place.stage() is None
    assert changing.compare(back, HOST)["say"] == "no shadow to compare with"


def test_a_shadow_that_the_rollback_itself_finds_different_is_discarded(place: Place) -> None:
    """Interrupted before anything noticed: the rollback's own comparison finds it, and it never was the authority."""
    changing.expand(place.phase("2"), HOST)
    place.differ()
    back = place.phase("rollback")
    changing.revert(back, HOST)
    assert changing.compare(back, HOST)["discarded"] == [CHANGE]
    assert place.stage() is None


def test_what_was_swapped_back_has_to_be_equal(place: Place) -> None:
    """A change that this rollback took back fails it while it differs, also when the rollback is repeated."""
    forward = place.phase("2")
    changing.expand(forward, HOST)
    changing.swap(forward, HOST)
    first = place.phase("rollback")
    changing.revert(first, HOST)
    place.differ()
    with pytest.raises(Failed, match="both sides differ"):
        changing.compare(first, HOST)
    again = place.phase("rollback")
    changing.revert(again, HOST)
    with pytest.raises(Failed, match="both sides differ"):
        changing.compare(again, HOST)
    assert compared(again)["token"] == again.request.token
    assert "failed" in compared(again)["changes"][CHANGE]
    place.do("UPDATE v2.email_messages SET subject = NULL WHERE storage_key = 'key-7'")
    third = place.phase("rollback")
    changing.revert(third, HOST)
    assert changing.compare(third, HOST)["compared"][CHANGE]["rows"] > 0
    assert place.stage() == "copied"


@contextmanager
def clients(place: Place, *known: tuple[str, str]) -> Iterator[None]:
    """Hold a session for each role and name."""
    with ExitStack() as stack:
        for user, name in known:
            words = f"{place.server.conninfo(place.target.dbname, user)} application_name={name}"
            stack.enter_context(psycopg.connect(words, autocommit=True)).execute("SELECT 1")
        yield


def test_the_census_knows_the_release_exactly(place: Place) -> None:
    """v2's own sessions and its listener are no finding; v20, a name that holds v2, and another role that reads are."""
    made = place.phase("2")
    with superuser(place.server.port, place.target.dbname) as connection:
        connection.execute("DROP ROLE IF EXISTS analyst")
        connection.execute("CREATE ROLE analyst LOGIN")
        connection.execute("DROP ROLE IF EXISTS monitor")
        connection.execute("CREATE ROLE monitor LOGIN IN ROLE pg_monitor")
        connection.execute("GRANT SELECT ON email_messages TO analyst")
    try:
        with clients(place, ("penguin_app", "penguin-v2-green"), ("penguin_app", "penguin-v2-blue-references"),
                     ("monitor", "exporter"), ("postgres", "console"), ("penguin_rollout", "x")):  # fmt: skip
            assert census.census(made, HOST)["say"] == "no session of the old release"
        for user, name in (("penguin_app", "penguin-v20-green"), ("penguin_app", "penguin-v1-v2"),
                           ("analyst", "penguin-v2-green")):  # fmt: skip
            with clients(place, (user, name)), pytest.raises(Refused, match=f"1 of {user} as {name}"):
                census.census(made, HOST)
    finally:
        with superuser(place.server.port, place.target.dbname) as connection:
            connection.execute("DROP OWNED BY analyst, monitor")
            connection.execute("DROP ROLE analyst")
            connection.execute("DROP ROLE monitor")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE PUBLICATION everything FOR ALL TABLES", "publication everything is FOR ALL TABLES"),
        ("CREATE VIEW recent AS SELECT created FROM email_messages", "view public.recent reads created, which change"),
        ("CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM email_messages", "materialised view public.counted"),
        ("CREATE RULE keep AS ON DELETE TO email_content DO INSTEAD DELETE FROM email_messages WHERE false",
         "rule public.email_content (rule keep)"),
        ("ALTER TABLE email_messages FORCE ROW LEVEL SECURITY; ALTER ROLE penguin_rollout NOBYPASSRLS",
         "public.email_messages: FORCE ROW LEVEL SECURITY"),
        (STAMP, "trigger stamp: its function public.stamp() says updated, which change"),
    ],
)  # fmt: skip
def test_preflight_names_what_would_not_be_carried(place: Place, statement: str, told: str) -> None:
    """As found nothing is in the way; each thing that the new relations would lose or trip over is named."""
    assert preflight_schema.check(place.target) == (True, "13 relations to be exchanged, nothing in the way")  # 002's, 008's
    with superuser(place.server.port, place.target.dbname) as connection:
        connection.execute(statement.encode())
        passed, observed = preflight_schema.check(place.target)
        connection.execute("ALTER ROLE penguin_rollout BYPASSRLS")
    assert (passed, told in observed) == (False, True), observed


def test_preflight_knows_what_the_rollout_made(place: Place) -> None:
    """An expanded change, with its triggers and shadow, is nothing in the way; nor is one that is swapped."""
    forward = place.phase("2")
    changing.expand(forward, HOST)
    assert preflight_schema.check(place.target)[0]
    changing.swap(forward, HOST)
    assert preflight_schema.check(place.target)[0]
