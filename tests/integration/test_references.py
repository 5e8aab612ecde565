"""References between real databases: the scan, the validator with its cache and listener, the performance view."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis.asyncio
from service_servers import Servers

from rollout.environment import TIERS, Environment
from rollout.errors import Refused
from rollout.performance_view import refresh
from rollout.references.cache import Reference
from rollout.references.listen import listen
from rollout.references.scan import ReferenceResult, scan
from rollout.references.validator import Outcome, Validator, record

T1, T2 = str(uuid.uuid4()), str(uuid.uuid4())
C1, C2, GONE = str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Four databases as found with two tenants, a campaign each, and 001 expanded everywhere, 004 on olap."""
    home = tempfile.TemporaryDirectory(prefix="rollout-references-", ignore_cleanup_errors=True)
    started = Servers(Path(home.name))
    try:
        started.start()
        with started.owner("oltp") as oltp:
            for tenant, campaign in ((T1, C1), (T2, C2)):
                oltp.execute("INSERT INTO tenants (id, name) VALUES (%s, 't')", (tenant,))
                oltp.execute(
                    "INSERT INTO campaigns (id, tenant_id, name, status) VALUES (%s, %s, 'c', 'sending')",
                    (campaign, tenant),
                )
        with pytest.raises(Refused, match="documents no references"):
            scan(started.environment(""))
        for tier in TIERS:
            started.expand(tier, "001_cross_database_integrity")
        started.expand("olap", "004_olap_performance")
        yield started
    finally:
        started.stop()
        home.cleanup()


@pytest.fixture
def environment(servers: Servers) -> Environment:
    """The environment of these servers."""
    return servers.environment("")


def result(results: list[ReferenceResult], table: str, column: str) -> ReferenceResult:
    """Return one reference's result."""
    return next(r for r in results if r.table == table and r.column == column)


def test_scan_finds_orphans_foreigners_and_malformed(servers: Servers, environment: Environment) -> None:
    """Each kind of wrong reference is counted once, its id is kept, and repeating the scan id replaces it."""
    with servers.owner("content") as content:
        for n, (tenant, campaign) in enumerate([(T1, C1), (T1, C1), (T1, C2), (T1, GONE), (T2, GONE), (T2, None)]):
            content.execute("INSERT INTO email_content (storage_key, tenant_id) VALUES (%s, %s)", (f"k{n}", tenant))
            content.execute(
                "INSERT INTO email_messages (storage_key, tenant_id, campaign_id) VALUES (%s, %s, %s)",
                (f"k{n}", tenant, campaign),
            )
    with servers.owner("olap") as olap:
        olap.execute(
            "INSERT INTO campaign_analytics (campaign_id, company_id) VALUES (%s, %s), ('?', %s)",
            (C1.upper(), GONE, GONE),
        )
    with servers.owner("queue") as queue:
        for campaign in (C1, C2):
            queue.execute(
                "INSERT INTO jobs (queue_name, payload) VALUES ('webhook-processing',"
                " jsonb_build_object('tenant_id', %s::text, 'campaign_id', %s::text))",
                (T1, campaign),
            )
    for _ in range(2):
        results = scan(environment, scan_id="one")
    messages = result(results, "email_messages", "campaign_id")
    assert (messages.rows, messages.orphans, messages.foreign_tenant) == (5, 2, 1)
    jobs = result(results, "jobs", "payload->>'campaign_id'")
    assert (jobs.rows, jobs.orphans, jobs.foreign_tenant) == (2, 0, 1)
    analytics = result(results, "campaign_analytics", "campaign_id")
    assert (analytics.rows, analytics.orphans, analytics.malformed) == (2, 1, 1)
    with servers.owner("content") as content:
        found = content.execute(
            "SELECT kind, id, scope, rows FROM rollout.reference_findings"
            " WHERE column_name = 'campaign_id' ORDER BY 1, 2, 3"
        ).fetchall()
    assert found == [("foreign_tenant", C2, T1, 1), *(("orphan", GONE, t, 1) for t in sorted((T1, T2)))]


def test_scan_under_writers_reports_no_false_orphan(servers: Servers, environment: Environment) -> None:
    """Campaigns and messages that are created while scans run never look like orphans."""
    before = result(scan(environment), "content_inbox_message_refs", "campaign_id")
    ended = threading.Event()

    def write() -> None:
        with servers.owner("oltp") as oltp, servers.owner("content") as content:
            oltp.autocommit = content.autocommit = True
            while not ended.is_set():
                campaign, key = str(uuid.uuid4()), str(uuid.uuid4())
                oltp.execute("INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, %s, 'w')", (campaign, T1))
                content.execute("INSERT INTO email_content (storage_key, tenant_id) VALUES (%s, %s)", (key, T1))
                content.execute(
                    "INSERT INTO content_inbox_message_refs (storage_key, tenant_id, campaign_id) VALUES (%s, %s, %s)",
                    (key, T1, campaign),
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [result(scan(environment), "content_inbox_message_refs", "campaign_id") for _ in range(8)]
    finally:
        ended.set()
        writer.join()
    assert [f.orphans for f in found] == [before.orphans] * 8
    assert found[-1].rows > before.rows


def test_view_is_refreshed_from_oltp(servers: Servers, environment: Environment) -> None:
    """The copy follows oltp in both directions, and freshness counts what oltp does not have."""
    with servers.owner("olap") as olap:
        olap.execute(
            "INSERT INTO campaign_analytics (campaign_id, company_id, sent, delivered)"
            " VALUES (%s, 'c', 8, 6), (%s, 'c', 2, 2)",
            (C1, C1),
        )
    first = refresh(environment)[0]
    with servers.owner("oltp") as oltp:
        oltp.execute("UPDATE campaigns SET name = 'renamed' WHERE id = %s", (C1,))
        oltp.execute("DELETE FROM campaigns WHERE name = 'w'")
    second = refresh(environment)[0]
    with servers.owner("olap") as olap:
        row = olap.execute(
            "SELECT campaign_name, campaign_status, sent, delivery_rate::float"
            " FROM v2.campaign_performance_mv WHERE campaign_id = %s",
            (C1,),
        ).fetchone()
        copied = olap.execute("SELECT campaign_id FROM v2.campaign_reference ORDER BY 1").fetchall()
    assert row == ("renamed", "sending", 10, 80.0)
    assert [c[0] for c in copied] == sorted((C1, C2))
    assert second.refreshed_at > first.refreshed_at
    assert second.source_copied_at <= second.refreshed_at
    assert second.without_campaign == 2
    assert second.rows == 1


class Application:
    """What the service has: a way to connect to oltp as penguin_app, and Redis."""

    def __init__(self, servers: Servers) -> None:
        self.dsn = servers.dsn("oltp", "penguin_app")
        self.redis: redis.asyncio.Redis = redis.asyncio.Redis(port=servers.redis_port)
        self.look_ups = 0
        self.hold: asyncio.Event | None = None

    def connect(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Count and, when asked to, hold the connection back after the look-up."""
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        self.look_ups += 1
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            yield connection
            if self.hold:
                await self.hold.wait()


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Wait until a coroutine function returns true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  (what is awaited is in a database)
            await asyncio.sleep(0.02)


def test_outcomes_are_cached_by_tenant(servers: Servers) -> None:
    """Both outcomes are asked for once, for 300 s, in one look-up; another tenant's campaign is invalid."""

    async def run() -> None:
        app = Application(servers)
        await app.redis.flushdb()
        validator = Validator(app.connect, app.redis)
        for _ in range(2):
            outcomes = await validator.check_many(
                [("campaign", C1, T1), ("campaign", C1, T2), ("campaign", GONE, T1), ("lead", GONE, T1)]
            )
            assert [str(o) for o in outcomes.values()] == ["valid", "invalid", "invalid", "invalid"]
        assert app.look_ups == 1
        assert await app.redis.get(f"campaign:{T1}:{C1}") == b"valid"
        assert 295 <= await app.redis.ttl(f"campaign:{T2}:{C1}") <= 300
        await app.redis.aclose()

    asyncio.run(run())


def test_look_up_that_lost_the_race_is_not_stored(servers: Servers) -> None:
    """An outcome whose look-up began before an invalidation, of the key or of the kind, never reaches the cache."""

    async def run() -> None:
        app = Application(servers)
        validator = Validator(app.connect, app.redis, timeout_seconds=5)
        for flush in (False, True):
            await app.redis.flushdb()
            app.hold, before = asyncio.Event(), app.look_ups
            task = asyncio.create_task(validator.check("campaign", GONE, T1))

            async def looking(before: int = before) -> bool:
                return app.look_ups > before

            await until(looking)
            await asyncio.sleep(0.2)
            await (validator.flush("campaign") if flush else validator.forget("campaign", GONE, T1))
            app.hold.set()
            assert await task is Outcome.INVALID
            assert await app.redis.get(f"campaign:{T1}:{GONE}") is None
            assert await validator.check("campaign", GONE, T1) is Outcome.INVALID
            assert await app.redis.get(f"campaign:{T1}:{GONE}") == b"invalid"
        await app.redis.aclose()

    asyncio.run(run())


def test_listener_forgets_and_reconnects(servers: Servers) -> None:
    """A created or deleted referent changes the outcome at once, also after the listener's connection was cut."""

    async def run() -> None:
        app = Application(servers)
        validator = Validator(app.connect, app.redis)
        listening = asyncio.Event()
        task = asyncio.create_task(listen(validator, f"{app.dsn} application_name=listener", listening=listening))
        async with await psycopg.AsyncConnection.connect(
            servers.dsn("oltp", "penguin_rollout"), autocommit=True
        ) as owner:
            for cut in (False, True):
                await asyncio.wait_for(listening.wait(), 5)
                if cut:
                    await validator.check("campaign", GONE, T1)
                    listening.clear()
                    admin = await psycopg.AsyncConnection.connect(servers.dsn("oltp", "postgres"), autocommit=True)
                    await admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener'"
                    )
                    await admin.close()
                    await asyncio.wait_for(listening.wait(), 10)
                    assert await app.redis.get(f"campaign:{T1}:{GONE}") is None
                campaign = str(uuid.uuid4())
                for outcome, statement in (
                    (Outcome.INVALID, "INSERT INTO campaigns (id, tenant_id, name) VALUES (%s, %s, 'n')"),
                    (Outcome.VALID, "DELETE FROM campaigns WHERE id = %s AND tenant_id = %s"),
                ):
                    assert await validator.check("campaign", campaign, T1) is outcome
                    await owner.execute(statement, (campaign, T1))

                    async def dropped(key: str = f"campaign:{T1}:{campaign}") -> bool:
                        return not await app.redis.exists(key)

                    await until(dropped)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await app.redis.aclose()

    asyncio.run(run())


def test_databases_away_allow_and_record(servers: Servers) -> None:
    """Without Redis oltp still answers; without oltp the cache does; without both the write is allowed and recorded."""

    async def run() -> None:
        app = Application(servers)
        await app.redis.flushdb()
        nowhere: redis.asyncio.Redis = redis.asyncio.Redis(port=1)
        assert await Validator(app.connect, nowhere).check("campaign", C1, T1) is Outcome.VALID
        assert await Validator(app.connect, app.redis).check("campaign", C1, T1) is Outcome.VALID
        app.dsn = app.dsn.replace(f"port={servers.postgres_port}", "port=1")
        assert await Validator(app.connect, app.redis).check("campaign", C1, T1) is Outcome.VALID
        outcomes = await Validator(app.connect, nowhere).check_many([("campaign", C1, T1), ("lead", GONE, T1)])
        assert set(outcomes.values()) == {Outcome.UNKNOWN}
        async with await psycopg.AsyncConnection.connect(servers.dsn("content", "penguin_app")) as content:
            assert await record(content, "email_messages", "k1", outcomes) == 2
        with servers.owner("content") as owner:
            rows = owner.execute(
                "SELECT relation, key, kind, reference FROM rollout.unvalidated_writes ORDER BY kind"
            ).fetchall()
        assert rows == [("email_messages", "k1", "campaign", C1), ("email_messages", "k1", "lead", GONE)]
        assert list(outcomes) == [Reference("campaign", C1, T1), Reference("lead", GONE, T1)]
        await app.redis.aclose()
        await nowhere.aclose()

    asyncio.run(run())


def test_hanging_redis_is_not_waited_for(servers: Servers) -> None:
    """A Redis that accepts and never answers costs at most the timeout of a read, and oltp still decides."""
    valkey = servers.processes[1]

    async def run() -> None:
        app = Application(servers)
        validator = Validator(app.connect, app.redis, timeout_seconds=0.5)
        loop = asyncio.get_running_loop()
        valkey.send_signal(signal.SIGSTOP)
        try:
            started = loop.time()
            assert await validator.check("campaign", C1, T1) is Outcome.VALID
            assert loop.time() - started < 2
        finally:
            valkey.send_signal(signal.SIGCONT)
        await app.redis.aclose()

    asyncio.run(run())
