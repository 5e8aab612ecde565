"""References of messages, in the new release over 001: refused, allowed, or allowed and recorded."""

from __future__ import annotations

import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from service_servers import Servers, call, wait

from rollout.environment import TIERS

HERE = Path(__file__).parent
T1, T2 = str(uuid.uuid4()), str(uuid.uuid4())
C1, C2, LEAD, ACCOUNT = (str(uuid.uuid4()) for _ in range(4))
LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penguin-v2-green-references'"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Two tenants, a campaign each, 001 expanded, and the target shapes of the other changes."""
    home = tempfile.TemporaryDirectory(prefix="rollout-service-", ignore_cleanup_errors=True)
    started = Servers(Path(home.name))
    try:
        started.start()
        with started.owner("oltp") as oltp:
            for tenant, campaign in ((T1, C1), (T2, C2)):
                oltp.execute("INSERT INTO tenants (id, name) VALUES (%s, 't')", (tenant,))
                oltp.execute("INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, %s, 'c')", (campaign, tenant))
            oltp.execute("INSERT INTO leads (id, tenant_id, email) VALUES (%s, %s, 'l')", (LEAD, T1))
            oltp.execute("INSERT INTO email_accounts (id, tenant_id, email) VALUES (%s, %s, 'a')", (ACCOUNT, T1))
        for tier in TIERS:
            started.expand(tier, "001_cross_database_integrity")
            if tier != "oltp":
                with started.owner(tier) as connection:
                    connection.execute((HERE / f"service_v2_{tier}.sql").read_bytes())
        started.expand("content", "008_timestamps", swap=True)
        yield started
    finally:
        started.stop()
        home.cleanup()


@pytest.fixture(scope="module")
def green(servers: Servers) -> str:
    """The address of a process of the new release that hears of changes."""
    url, _ = servers.serve("v2", "green")
    listening(servers)
    return url


def listening(servers: Servers) -> None:
    """Wait until the process listens: its session has said so and waits for the client."""

    def heard() -> None:
        with servers.owner("oltp") as oltp:
            assert oltp.execute(LISTENERS.encode()).fetchone() == (1,)

    wait(heard)


def message(url: str, tenant: str = T1, **given: Any) -> tuple[int, Any]:
    """Record a message; return status and answer."""
    return call(url, "POST", "/messages", {"tenant_id": tenant, "direction": "outbound", **given})


def recorded(servers: Servers, key: str) -> list[tuple[str, str, str]]:
    """Return what is recorded of a message's references."""
    with servers.owner("content") as content:
        return content.execute(
            "SELECT kind, reference, tenant_id FROM rollout.unvalidated_writes"
            " WHERE relation = 'email_messages' AND key = %s ORDER BY kind",
            (key,),
        ).fetchall()


@contextmanager
def oltp_away(servers: Servers) -> Iterator[None]:
    """Cut every session of oltp and let nobody in."""
    with psycopg.connect(servers.dsn("content", "postgres"), autocommit=True) as admin:
        admin.execute("ALTER DATABASE penguinmails_oltp ALLOW_CONNECTIONS false")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'penguinmails_oltp'"
            )
            yield
        finally:
            admin.execute("ALTER DATABASE penguinmails_oltp ALLOW_CONNECTIONS true")


@contextmanager
def without(servers: Servers, tier: str, how: str, right: str, kind: str, name: str) -> Iterator[None]:
    """Take what 001 has made from the application, or out of its place, for a while."""
    if how == "missing":
        take, give = f"ALTER {kind} rollout.{name} SET SCHEMA public", f"ALTER {kind} public.{name} SET SCHEMA rollout"
    else:
        granted = f"{right} ON {kind} rollout.{name}"
        take, give = f"REVOKE {granted} FROM penguin_app", f"GRANT {granted} TO penguin_app"
    with servers.owner(tier) as connection:
        connection.execute(take.encode())
    try:
        yield
    finally:
        with servers.owner(tier) as connection:
            connection.execute(give.encode())


def test_an_invalid_reference_is_refused_by_name(green: str, servers: Servers) -> None:
    """Each reference that is wrong is named, nothing is written, and what is right passes without a record."""
    key = f"messages/{uuid.uuid4()}"
    status, refused = message(
        green, storage_key=key, campaign_id=str(uuid.uuid4()), lead_id=LEAD, email_account_id="none"
    )
    assert (status, refused["error"]) == (400, "invalid references")
    assert [detail.split(":")[0] for detail in refused["details"]] == ["campaign_id", "email_account_id"]
    assert call(green, "GET", f"/messages/{key}?tenant_id={T1}")[0] == 404
    assert message(green, storage_key=key, campaign_id=C1.upper(), lead_id=LEAD, email_account_id=ACCOUNT)[0] == 201
    assert recorded(servers, key) == []


def test_another_tenants_campaign_is_refused(green: str) -> None:
    """A campaign is valid for its own tenant only, whoever asks first."""
    assert [message(green, t, campaign_id=C2)[0] for t in (T1, T2, T1)] == [400, 201, 400]


def test_a_reply_answers_for_what_it_names_itself(green: str, servers: Servers) -> None:
    """An orphan of the parent is inherited; a reference in the request is checked, and takes its place."""
    orphan, key = str(uuid.uuid4()), f"messages/{uuid.uuid4()}"
    assert message(green, storage_key=key)[0] == 201
    with servers.owner("content") as content:
        content.execute("UPDATE v2.email_messages SET campaign_id = %s WHERE storage_key = %s", (orphan, key))
    replies = [
        call(green, "POST", f"/messages/{key}/replies", {"tenant_id": T1, "campaign_id": c}) for c in (None, C1, C2)
    ]
    assert [status for status, _ in replies] == [201, 201, 400]
    paths = [f"/messages/{reply['storage_key']}?tenant_id={T1}" for _, reply in replies[:2]]
    stored = [call(green, "GET", path)[1]["campaign_id"] for path in paths]
    assert stored == [orphan, C1]


def test_a_campaign_is_valid_as_soon_as_it_exists(green: str, servers: Servers) -> None:
    """'invalid' was cached; whether SQL or the service creates the campaign, it is forgotten at once."""
    by_sql, by_service, lead = (str(uuid.uuid4()) for _ in range(3))
    for reference in ({"campaign_id": by_sql}, {"campaign_id": by_service}, {"lead_id": lead}):
        assert message(green, **reference)[0] == 400
    assert servers.redis().get(f"campaign:{T1}:{by_sql}") == "invalid"
    with servers.owner("oltp") as oltp:
        oltp.execute("INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, %s, 'late')", (by_sql, T1))

    def accepted() -> None:
        assert message(green, campaign_id=by_sql)[0] == 201

    wait(accepted, 5)
    body = {"id": by_service, "tenant_id": T1, "name": "late", "leads": [{"id": lead, "email": lead}]}
    assert call(green, "POST", "/campaigns", body)[0] == 201
    assert message(green, campaign_id=by_service, lead_id=lead)[0] == 201


def test_the_service_forgets_what_it_creates_itself(green: str, servers: Servers) -> None:
    """Without any notification, a campaign that the service creates is valid in the next request."""
    campaign = str(uuid.uuid4())
    with servers.owner("oltp") as oltp:
        oltp.execute("ALTER TABLE campaigns DISABLE TRIGGER rollout_references_insert")
    try:
        assert message(green, campaign_id=campaign)[0] == 400
        assert call(green, "POST", "/campaigns", {"id": campaign, "tenant_id": T1, "name": "own"})[0] == 201
        assert message(green, campaign_id=campaign)[0] == 201
    finally:
        with servers.owner("oltp") as oltp:
            oltp.execute("ALTER TABLE campaigns ENABLE ALWAYS TRIGGER rollout_references_insert")


def test_oltp_away_allows_and_records(green: str, servers: Servers) -> None:
    """What is cached still decides; the rest is allowed and recorded with the message, until oltp is back."""
    unknown, key = str(uuid.uuid4()), f"messages/{uuid.uuid4()}"
    assert message(green, campaign_id=C1)[0] == 201
    assert message(green, campaign_id=C2)[0] == 400
    with oltp_away(servers):
        assert message(green, campaign_id=C2)[0] == 400
        assert message(green, storage_key=key, campaign_id=C1, lead_id=unknown)[0] == 201
        reply = call(green, "POST", f"/messages/{key}/replies", {"tenant_id": T1, "email_account_id": unknown})
        assert message(green, storage_key=key, lead_id=unknown)[0] == 409
    assert recorded(servers, key) == [("lead", unknown, T1)]
    assert recorded(servers, reply[1]["storage_key"]) == [("email_account", unknown, T1)]

    def refused() -> None:
        assert message(green, lead_id=unknown)[0] == 400

    wait(refused)
    listening(servers)


@pytest.mark.parametrize("how", ["not granted", "missing"])
def test_without_the_change_writes_go_on(how: str, green: str, servers: Servers) -> None:
    """Where the function and the table are not granted or missing, a message is written and nothing recorded."""
    key = f"messages/{uuid.uuid4()}"
    with (
        without(servers, "oltp", how, "EXECUTE", "FUNCTION", "existing_references(text[], uuid[], uuid[])"),
        without(servers, "content", how, "INSERT", "TABLE", "unvalidated_writes"),
    ):
        assert message(green, storage_key=key, campaign_id=str(uuid.uuid4()))[0] == 201
    assert call(green, "GET", f"/messages/{key}?tenant_id={T1}")[0] == 200
    assert recorded(servers, key) == []


@pytest.mark.parametrize("away", [False, True])
def test_the_listener_ends_with_the_process(away: bool, servers: Servers) -> None:
    """SIGTERM ends the process within its grace of 1 s and a little, whether the listener listens or looks for oltp."""
    _, process = servers.serve("v2", "blue")
    session = LISTENERS.replace("green", "blue").encode()

    def listens() -> None:
        with servers.owner("content") as anywhere:
            assert anywhere.execute(session).fetchone() == (1,)

    def end() -> float:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        return time.monotonic() - started

    wait(listens)
    if away:
        with oltp_away(servers):
            assert end() < 4
    else:
        assert end() < 4
    with servers.owner("content") as anywhere:
        assert anywhere.execute(session).fetchone() == (0,)
