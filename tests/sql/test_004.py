"""004 on olap: every stage under writers of both releases, on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import psycopg
import pytest
from servers import Server
from stages import Change

UPSERT = """
INSERT INTO billing_analytics (tenant_id, subscription_id, emails_sent, period_start, period_end)
VALUES (%(tenant)s, 's', 1, %(start)s::timestamptz, %(start)s::timestamptz + interval '1 month')
ON CONFLICT (tenant_id, period_start, period_end) DO UPDATE
SET emails_sent = coalesce(billing_analytics.emails_sent, 0) + excluded.emails_sent, {updated} = now()
RETURNING id
"""
CHILDREN = ("campaign_analytics", "mailbox_analytics", "lead_analytics", "warmup_analytics", "sequence_step_analytics")
COLUMNS = (
    "id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,"
    " warmups_active, period_start, period_end"
)


@pytest.fixture
def database(server: Server) -> str:
    """An olap database as found with 3,000 billing rows in three years and children in all five tables."""
    name = server.database("olap")
    with psycopg.connect(server.conninfo(name)) as connection:
        connection.execute(
            "INSERT INTO billing_analytics (tenant_id, emails_sent, period_start, period_end)"
            " SELECT 't' || n % 100, n, s, s + interval '1 month' FROM generate_series(0, 2999) AS n,"
            " LATERAL (SELECT timestamptz '2024-01-01Z' + (n / 100) * interval '1 month') AS m (s)"
        )
        for table, key in zip(CHILDREN, ("campaign", "mailbox", "lead", "warmup", "step"), strict=True):
            extra = "campaign_id" if key in ("lead", "step") else "company_id"
            connection.execute(
                f"INSERT INTO {table} ({key}_id, {extra}, sent, delivered, billing_id)"
                f" SELECT 'k' || id % 50, 'c' || id % 7, 10, 9, id FROM billing_analytics WHERE id % 3 > 0".encode()
            )
    return name


@pytest.fixture
def change(server: Server, database: str) -> Iterator[Change]:
    """The change, not yet expanded."""
    first = Change("olap", "001_cross_database_integrity", server, database)
    first.stage("expand")
    first.close()
    made = Change("olap", "004_olap_performance", server, database)
    yield made
    made.close()


class Writers:
    """Clients that never stop: each statement is prepared on the server, and each failure is kept."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.green = threading.Event()
        self.ended = threading.Event()
        self.failures: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.counts = [0, 0, 0]
        self.pool = ThreadPoolExecutor(3)

    def __enter__(self) -> Self:
        self.running = [self.pool.submit(self._write, n) for n in range(3)]
        return self

    def __exit__(self, *failure: object) -> None:
        self.ended.set()
        self.pool.shutdown(wait=True)

    def _write(self, number: int) -> None:
        new = number == 2
        if new:
            while not self.green.wait(0.05):
                if self.ended.is_set():
                    return
        options = "-c search_path=v2,public" if new else "-c search_path=public"
        upsert = UPSERT.format(updated="updated_at" if new else "updated").encode()
        with psycopg.connect(
            f"{self.conninfo} options='{options}'", autocommit=True, prepare_threshold=1
        ) as connection:
            turn = 0
            while not self.ended.is_set() and (not new or self.green.is_set()):
                turn += 1
                tenant, start = f"w{number}-{turn % 40}", f"{2024 + turn % 5}-03-01Z"
                try:
                    with connection.transaction():
                        row = connection.execute(upsert, {"tenant": tenant, "start": start}).fetchone()
                        assert row is not None
                        connection.execute(
                            "INSERT INTO campaign_analytics (campaign_id, company_id, sent, billing_id)"
                            " VALUES (%s, 'c', 1, %s)",
                            (f"w{number}-{turn}", row[0]),
                        )
                        if turn % 7 == 0:
                            connection.execute(
                                "UPDATE billing_analytics SET leads_used = leads_used + 1 WHERE id = %s", (row[0],)
                            )
                    connection.execute(
                        "SELECT id, tenant_id FROM billing_analytics WHERE tenant_id = %s FOR UPDATE", (tenant,)
                    )
                    if not new:
                        connection.execute("SELECT * FROM billing_analytics WHERE tenant_id = %s", (tenant,)).fetchall()
                    key = f"{tenant} {start}"
                    self.acknowledged[key] = self.acknowledged.get(key, 0) + 1
                    self.counts[number] += 1
                except psycopg.Error as error:
                    self.failures.append(f"writer {number}: {type(error).__name__} {error}")
                    return

    def go_on(self, writes: int = 60) -> None:
        """Return after every active writer has made that many more writes, or fail."""
        active = [0, 1, 2] if self.green.is_set() else [0, 1]
        wanted = [self.counts[n] + writes for n in active]
        deadline = time.monotonic() + 30
        while any(self.counts[n] < w for n, w in zip(active, wanted, strict=True)):
            assert not self.failures, self.failures
            assert time.monotonic() < deadline, f"writers stand still: {self.counts}"
            time.sleep(0.02)


def prepare(change: Change) -> None:
    """Expand and refresh: everything up to the swap."""
    change.stage("expand")
    rows, differing = change.compare()
    assert rows >= 3000
    assert differing == []
    change.connection.execute("REFRESH MATERIALIZED VIEW v2.campaign_performance_mv")


def test_road_under_load(server: Server, database: str, change: Change) -> None:
    """Expand, swap, revert, swap and contract under prepared writers: nothing fails, nothing is lost, sides agree."""
    with Writers(server.conninfo(database, "penguin_app")) as writers:
        writers.go_on()
        prepare(change)
        writers.go_on()
        for last in (False, True):
            change.stage("swap")
            writers.green.set()
            writers.go_on()
            assert change.compare()[1] == [], "the reverse sync left differences"
            writers.green.clear()
            if not last:
                time.sleep(0.3)
                writers.running[2] = writers.pool.submit(writers._write, 2)
                change.stage("revert")
                writers.go_on()
                change.stage("expand")
                for left, right in (("public", "v2"), ("v2", "public")):
                    stamp = {"public": "updated", "v2": "updated_at"}
                    row = change.connection.execute(
                        f"SELECT count(*) FROM (SELECT {COLUMNS}, {stamp[left]} FROM {left}.billing_analytics"
                        f" EXCEPT SELECT {COLUMNS}, {stamp[right]} FROM {right}.billing_analytics) AS one_side".encode()
                    ).fetchone()
                    assert row == (0,)
    assert writers.failures == []
    change.stage("contract")
    found = change.connection.execute(
        "SELECT tenant_id || ' ' || to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD') || 'Z', emails_sent"
        " FROM public.billing_analytics WHERE tenant_id LIKE 'w%-%'"
    ).fetchall()
    assert dict(found) == writers.acknowledged
    ids = change.connection.execute("SELECT count(*), count(DISTINCT id) FROM public.billing_analytics").fetchone()
    assert ids is not None
    assert ids[0] == ids[1]


def test_contract_keeps_green_and_integrity(server: Server, database: str, change: Change) -> None:
    """After contract the same unqualified names work for green and unknown or moved billing rows are handled."""
    prepare(change)
    change.stage("swap")
    conninfo = f"{server.conninfo(database, 'penguin_app')} options='-c search_path=v2,public'"
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=0) as green:
        insert = (
            "INSERT INTO campaign_analytics (campaign_id, company_id, billing_id) VALUES ('x', 'c', %s) RETURNING id"
        )
        start = {"tenant": "green", "start": "2025-03-01Z"}
        before = green.execute(UPSERT.format(updated="updated_at").encode(), start).fetchone()
        assert before is not None
        green.execute(insert, before)
        change.stage("contract")
        assert green.execute(UPSERT.format(updated="updated_at").encode(), start).fetchone() == before
        child = green.execute(insert, before).fetchone()
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            green.execute(insert, (10**9,))
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            green.execute("DELETE FROM billing_analytics WHERE id = %s", before)
        green.execute("UPDATE billing_analytics SET period_start = '2024-05-01Z' WHERE id = %s", before)
        row = green.execute("SELECT billing_period_start FROM campaign_analytics WHERE id = %s", child).fetchone()
        assert row is not None
        assert row[0].isoformat()[:7] == "2024-05"
    for table in CHILDREN:
        unfilled = (
            f"SELECT count(*) FROM {table} WHERE billing_id IS NOT NULL AND billing_period_start IS NULL".encode()
        )
        assert change.connection.execute(unfilled).fetchone() == (0,)


def test_counters_can_be_written_before_the_chunks_reach_them(server: Server, database: str, change: Change) -> None:
    """Between contract_prepare and its chunks, an update that leaves the half-filled key alone is no violation."""
    prepare(change)
    change.stage("swap")
    with psycopg.connect(server.conninfo(database, "penguin_app"), autocommit=True) as writer:
        writer.execute("INSERT INTO campaign_analytics (campaign_id, company_id, billing_id) VALUES ('early', 'c', 1)")
        change.contract_prepare()
        writer.execute("UPDATE campaign_analytics SET sent = 1 WHERE campaign_id = 'early'")
        row = writer.execute(
            "SELECT billing_period_start FROM campaign_analytics WHERE campaign_id = 'early'"
        ).fetchone()
    assert row is not None
    assert row[0] is not None


def test_period_moves_keep_the_old_row(server: Server, database: str, change: Change) -> None:
    """A period_start that crosses partitions after the swap leaves the old row and its children in place."""
    prepare(change)
    change.stage("swap")
    with psycopg.connect(server.conninfo(database, "penguin_app"), autocommit=True) as blue:
        blue.execute("UPDATE billing_analytics SET period_start = period_start + interval '1 year' WHERE id = 1")
        blue.execute("UPDATE billing_analytics SET period_start = '1970-01-01Z' WHERE id = 2")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            blue.execute("DELETE FROM billing_analytics WHERE id = 1")
        blue.execute("DELETE FROM billing_analytics WHERE id = 3")
        with pytest.raises(psycopg.errors.UniqueViolation):
            blue.execute(
                "INSERT INTO billing_analytics (id, tenant_id, period_start, period_end) OVERRIDING SYSTEM VALUE"
                " VALUES (2, 'twice', '2025-01-01Z', '2025-02-01Z')"
            )
    assert change.compare() == (2999, [])
    change.stage("revert")
    assert change.compare() == (2999, [])
    with psycopg.connect(server.conninfo(database, "penguin_app"), autocommit=True) as blue:
        blue.execute("UPDATE billing_analytics SET period_start = period_start - interval '1 year' WHERE id = 1")
        row = blue.execute(
            UPSERT.format(updated="updated").encode(), {"tenant": "after", "start": "2025-03-01Z"}
        ).fetchone()
        assert row is not None
        assert row[0] > 3000
    assert change.compare() == (3000, [])


def test_compare_sees_every_kind_of_difference(change: Change) -> None:
    """Missing, extra and different rows are each named, before and after the swap."""
    prepare(change)
    owner = change.connection
    owner.execute("DELETE FROM v2.billing_analytics WHERE id = 10")
    owner.execute("UPDATE v2.billing_analytics SET emails_sent = NULL WHERE id = 20")
    owner.execute(
        "INSERT INTO v2.billing_analytics (id, tenant_id, period_start, period_end)"
        " VALUES (99999, 'x', '2030-01-01Z', '2030-02-01Z')"
    )
    assert change.compare()[1] == ["10", "20", "99999"]
    change.stage("swap")
    assert change.compare()[1] == ["10", "20", "99999"]


def test_shadow_is_guarded(server: Server, database: str, change: Change) -> None:
    """TRUNCATE is refused, replica sessions are kept in step, and the application reaches v2 only while it is home."""
    prepare(change)
    admin = server.conninfo(database, "postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE billing_analytics SET emails_sent = 7 WHERE id = 5")
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("TRUNCATE billing_analytics CASCADE")
    assert change.compare()[1] == []
    change.stage("swap")
    with pytest.raises(psycopg.errors.RaiseException):
        change.connection.execute("TRUNCATE v2.billing_analytics_y2024")
    change.stage("revert")
    with (
        psycopg.connect(server.conninfo(database, "penguin_app"), autocommit=True) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute("SELECT FROM v2.billing_analytics")


def test_stages_can_be_repeated(change: Change) -> None:
    """Expand twice is the same as once, and a far period does not cost partitions."""
    change.connection.execute(
        "INSERT INTO billing_analytics (tenant_id, period_start, period_end)"
        " VALUES ('typo', '9999-01-01Z', '9999-02-01Z')"
    )
    for _ in range(2):
        change.stage("expand")
        assert change.compare() == (3001, [])
    row = change.connection.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'v2.billing_analytics'::regclass"
    ).fetchone()
    assert row is not None
    assert 4 <= row[0] <= 6
    with pytest.raises(psycopg.errors.RaiseException, match="never refreshed"):
        change.stage("swap")


def test_performance_view_aggregates_by_campaign(change: Change) -> None:
    """One row a campaign, rates in percent, null instead of a division by zero."""
    prepare(change)
    owner = change.connection
    owner.execute(
        "INSERT INTO v2.campaign_reference"
        " VALUES ('k1', 't', 'c', 'one', 'sending', now()), ('z', 't', 'c', 'zero', NULL, now())"
    )
    owner.execute("INSERT INTO campaign_analytics (campaign_id, company_id, sent) VALUES ('z', 'c', 0)")
    owner.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY v2.campaign_performance_mv")
    rows = owner.execute(
        "SELECT campaign_id, sent, delivered, delivery_rate, click_rate FROM v2.campaign_performance_mv ORDER BY 1"
    ).fetchall()
    assert [(r[0], r[3] if r[3] is None else float(r[3])) for r in rows] == [("k1", 90.0), ("z", None)]
    assert rows[0][1] == 10 * 40
