"""The seeder against real servers: the same rows twice, what they promise to each other, and Redis beside `jobs`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from service_servers import Servers

from rollout import seed
from rollout.environment import Environment
from rollout.errors import BadInput

SCALE, SEED = 0.02, 7
Seeded = tuple[Servers, Environment, dict[str, int]]


def quiet(line: str) -> None:
    """Take a line of progress and show nothing."""


@pytest.fixture(scope="module")
def seeded() -> Iterator[Seeded]:
    """Start real servers and seed them once."""
    # Not pytest's folder: as root the servers run as nobody, who may not enter it.
    home = Path(tempfile.mkdtemp(prefix="penguin-seed-", dir="/tmp"))
    servers = Servers(home)
    try:
        servers.start()
        environment = servers.environment("http://127.0.0.1:1")
        yield servers, environment, seed.fill(environment, scale=SCALE, seed=SEED, progress=quiet)
    finally:
        servers.stop()
        shutil.rmtree(home, ignore_errors=True)


def copied(environment: Environment, prefix: str) -> Environment:
    """Return the environment with new databases of another name, brought to the baseline."""
    admin = environment.databases[0]
    databases = [d.model_copy(update={"dbname": f"{prefix}_{d.tier}"}) for d in environment.databases]
    with psycopg.connect(admin.conninfo(), autocommit=True) as connection:
        for database in databases:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database.dbname)))
    for database in databases:
        assert seed.baseline(database)
    return environment.model_copy(update={"databases": databases})


def fingerprints(environment: Environment) -> dict[str, Any]:
    """Return a checksum of every table."""
    found = {}
    for database in environment.databases:
        with psycopg.connect(database.conninfo()) as connection:
            tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
            for (table,) in tables:
                query = sql.SQL("select md5(string_agg(md5(t::text), '' order by md5(t::text))) from {} as t")
                row = connection.execute(query.format(sql.Identifier(table))).fetchone()
                found[f"{database.tier}.{table}"] = row[0] if row else None
    return found


def column(environment: Environment, tier: str, query: str) -> list[Any]:
    """Return the first column of a query."""
    with psycopg.connect(environment.tier(tier)[0].conninfo()) as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(seeded: Seeded) -> None:
    """Two fills with one seed have equal checksums in every table, none of them empty; another seed differs."""
    _, environment, counts = seeded
    again, other = copied(environment, "again"), copied(environment, "other")
    assert seed.fill(again, scale=SCALE, seed=SEED, progress=quiet) == counts
    first = fingerprints(environment)
    assert all(first.values())
    assert fingerprints(again) == first
    seed.fill(other, scale=SCALE, seed=SEED + 1, progress=quiet)
    assert fingerprints(other)["content.email_messages"] != first["content.email_messages"]
    # The other seeds have written to the one Redis; put back what the module's databases say.
    with psycopg.connect(environment.tier("queue")[0].conninfo(), autocommit=True) as connection:
        connection.execute("comment on database penguinmails_queue is null")
    seed.fill(environment, scale=SCALE, seed=SEED, progress=quiet)


def test_a_finished_fill_is_not_repeated_and_another_scale_is_refused(seeded: Seeded) -> None:
    """The second call only reads the counts back; a wrong scale or seed does not mix with what stands."""
    _, environment, counts = seeded
    lines: list[str] = []
    assert seed.fill(environment, scale=SCALE, seed=SEED, progress=lines.append) == counts
    assert lines == []
    assert [seed.baseline(d) for d in environment.databases] == [False] * 4
    with pytest.raises(BadInput, match="was seeded with seed 7"):
        seed.fill(environment, scale=SCALE * 2, seed=SEED, progress=quiet)


def test_an_interrupted_fill_goes_on(seeded: Seeded) -> None:
    """A call that stops in the middle leaves rows; the next call ends in the state of an uninterrupted one."""
    _, environment, counts = seeded

    def stop(line: str) -> None:
        if line.startswith(("content email_messages", "queue jobs")):
            raise KeyboardInterrupt

    broken = copied(environment, "broken")
    with pytest.raises(KeyboardInterrupt):
        seed.fill(broken, scale=SCALE, seed=SEED, progress=stop)
    assert seed.fill(broken, scale=SCALE, seed=SEED, progress=quiet) == counts
    assert fingerprints(broken) == fingerprints(environment)


def test_references_between_databases_hold_but_for_the_stated_orphans(seeded: Seeded) -> None:
    """Messages name campaigns, leads, accounts and parents that exist, but for exactly the counted ones."""
    _, environment, counts = seeded
    both = "(select * from email_messages union all select * from content_inbox_message_refs) as m"
    for name, table in (("campaign", "campaigns"), ("lead", "leads"), ("email_account", "email_accounts")):
        known = set(column(environment, "oltp", f"select id from {table}"))
        lost = [i for i in column(environment, "content", f"select {name}_id from {both}") if i not in known]
        assert len(lost) == counts[f"content.rows_with_lost_{name}"] > 0
    keys = set(column(environment, "content", "select storage_key from email_content"))
    parents = column(
        environment, "content", f"select parent_message_id from {both} where parent_message_id is not null"
    )
    assert len([p for p in parents if p not in keys]) == counts["content.rows_with_lost_parent"] > 0
    shared = "email_messages as e inner join content_inbox_message_refs as r using (storage_key)"
    assert column(environment, "content", f"select count(*) from {shared}") == [counts["content.shared_keys"]]
    assert column(environment, "content", f"select count(*) from {shared} where e is distinct from r") == [
        counts["content.shared_keys"] // 2
    ]
    owners = dict(
        zip(
            column(environment, "oltp", "select id from campaigns order by id"),
            column(environment, "oltp", "select tenant_id from campaigns order by id"),
            strict=True,
        )
    )
    named = zip(
        column(environment, "content", f"select campaign_id from {both} order by storage_key, m.updated"),
        column(environment, "content", f"select tenant_id from {both} order by storage_key, m.updated"),
        strict=True,
    )
    foreign = [c for c, tenant in named if c in owners and owners[c] != tenant]
    assert len(foreign) == counts["content.rows_with_campaign_of_another_tenant"] > 0


def test_redis_holds_exactly_what_jobs_say(seeded: Seeded) -> None:
    """Lists hold the migrated jobs and no others, with hashes and sets; dead letters are the exhausted ones."""
    servers, environment, counts = seeded
    client = servers.redis()
    kept: list[str] = []
    for key in client.scan_iter("queue:*"):
        for entry in client.lrange(key, 0, -1):
            item = json.loads(entry)
            if key != "queue:dead-letter":
                kept.append(item["id"])
                assert key == seed.list_key(item["queue_name"], item["priority"])
                assert client.hget(f"job:{item['id']}", "status") == "migrated_to_redis"
                assert client.sismember(f"recent_jobs:{item['queue_name']}", item["id"])
    migrated = column(environment, "queue", "select id::text from jobs where status = 'migrated_to_redis'")
    assert sorted(kept) == sorted(migrated) and migrated
    assert client.llen("queue:dead-letter") == counts["queue.jobs_dead"] > 0
    assert all(0 < client.ttl(key) <= 3600 for key in client.scan_iter("recent_jobs:*"))
    assert all(0 < client.ttl(key) <= 300 for key in client.scan_iter("campaign:*"))


def test_the_application_can_work_with_the_state_as_found(seeded: Seeded) -> None:
    """The application's role sees every row while no tenant is named, and one tenant's campaigns when one is."""
    servers, environment, counts = seeded
    tables = ("campaigns", "leads", "domains", "email_accounts", "templates", "companies")
    with psycopg.connect(servers.dsn("oltp", "penguin_app")) as connection:
        for table in tables:
            row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
            assert row == (counts[f"oltp.{table}"],)
        tenant = column(environment, "oltp", "select id::text from tenants limit 1")[0]
        connection.execute("select set_config('app.current_tenant_id', %s, true)", [tenant])
        assert connection.execute("select count(distinct tenant_id) from campaigns").fetchone() == (1,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into leads (tenant_id, email) values (gen_random_uuid(), 'a@leads.example')")


def test_identity_columns_go_on_after_the_seeded_ones(seeded: Seeded) -> None:
    """An insert that leaves its id to the sequence does not collide with a seeded row."""
    servers, _, counts = seeded
    with psycopg.connect(servers.dsn("olap", "penguin_app")) as connection:
        query = "insert into campaign_analytics (campaign_id, company_id) values ('x', 'y') returning id"
        assert connection.execute(query).fetchone() == (counts["olap.campaign_analytics"] + 1,)
        connection.rollback()


def test_bodies_are_of_the_lengths_that_mailboxes_have(seeded: Seeded) -> None:
    """Most are short, a few long ones hold most of the bytes, no two are alike, and storage compresses the long ones alone."""
    _, environment, _ = seeded
    short, long = "content_html IS NULL", "octet_length(content_html) BETWEEN 8000 AND 40000"
    count = "SELECT count(*) FROM email_content WHERE {}"
    contents, with_html = (column(environment, "content", count.format(w))[0] for w in ("true", long))
    assert with_html == contents // 16 and column(environment, "content", count.format(short)) == [contents - with_html]
    assert column(environment, "content", "SELECT count(DISTINCT md5(content_html)) FROM email_content") == [with_html]
    total = "sum(octet_length(content_text) + coalesce(octet_length(content_html), 0))"
    share = f"SELECT 100 * sum(octet_length(content_html)) / {total} FROM email_content"
    assert 70 < column(environment, "content", share)[0] < 95
    packed = "sum(pg_column_size(content_html))::float / sum(octet_length(content_html))"
    assert column(environment, "content", f"SELECT {packed} < 0.5 FROM email_content") == [True]
