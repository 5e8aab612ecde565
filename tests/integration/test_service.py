"""The application in both releases, endpoint by endpoint, against real servers."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from service_servers import Servers, call

from rollout.environment import save
from rollout.load import verify, window

TENANT, COMPANY = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
HERE = Path(__file__).parent
# Writes down, for each row of email_content, what its transaction said of who acts.
WITNESS = """
CREATE TABLE acted (n int GENERATED ALWAYS AS IDENTITY, acted text[]);
GRANT INSERT ON acted TO penguin_app;
CREATE FUNCTION acted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.acted (acted) SELECT array_agg(current_setting('app.' || name, true) ORDER BY n)
    FROM unnest(ARRAY['current_tenant_id', 'current_user_id', 'session_id', 'ip_address', 'user_agent'])
        WITH ORDINALITY AS told (name, n);
    RETURN NEW;
END $$;
CREATE TRIGGER acted BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION acted();
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Real servers with the baseline and one tenant."""
    # Not pytest's own folder: nobody else may enter that, and Postgres does not run as root.
    home = tempfile.TemporaryDirectory(prefix="rollout-service-", ignore_cleanup_errors=True)
    started = Servers(Path(home.name))
    try:
        started.start()
        with started.owner("oltp") as oltp:
            oltp.execute("INSERT INTO tenants (id, name) VALUES (%s, 'one')", [TENANT])
            oltp.execute(
                "INSERT INTO companies (id, tenant_id, name, workspace_name) VALUES (%s, %s, 'one', 'one')",
                [COMPANY, TENANT],
            )
        yield started
    finally:
        started.stop()
        home.cleanup()


@pytest.fixture(scope="module", params=["v1", "v2"])
def url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """The address of a process of each release in turn, the new one over the target shapes."""
    servers.redis().flushall()
    if request.param == "v2":
        for tier in ("oltp", "content"):
            servers.expand(tier, "001_cross_database_integrity")
        for tier in ("content", "queue", "olap"):
            with servers.owner(tier) as connection:
                connection.execute((HERE / f"service_v2_{tier}.sql").read_bytes())
        for tier in ("oltp", "content"):
            servers.expand(tier, "008_timestamps", swap=True)
    return servers.serve(request.param, "blue")[0]


def made(url: str, path: str, body: dict[str, Any], status: int = 201) -> Any:
    """POST and insist on the status."""
    found, answer = call(url, "POST", path, body)
    assert found == status, answer
    return answer


def test_shutdown_is_announced_before_it_happens(servers: Servers) -> None:
    """After SIGTERM health says 503 and requests are served for the grace period; then the process ends with 0."""
    address, process = servers.serve("v1", "green")
    assert call(address, "GET", "/health")[0] == 200
    process.send_signal(signal.SIGTERM)
    while call(address, "GET", "/health")[0] == 200:
        pass
    assert call(address, "GET", "/version")[1]["colour"] == "green"
    assert process.wait(10) == 0


def test_the_release_as_found_names_no_tenant_but_on_oltp(servers: Servers) -> None:
    """It serves without being told a tenant, with one pool for all of queue, and content never hears of the tenant."""
    address, process = servers.serve("v0", "green")
    with servers.owner("content") as content:
        content.execute(WITNESS.format("email_content").encode())
    try:
        made(address, "/campaigns", {"tenant_id": TENANT, "name": "as found"})
        made(address, "/messages", {"tenant_id": TENANT, "direction": "inbound", "storage_key": "as/found"})
        assert call(address, "GET", "/messages/as/found")[0] == 200
        assert call(address, "POST", "/queue/move?limit=1")[0] == 200
        with servers.owner("content") as content:
            ((acted,),) = content.execute("SELECT acted FROM acted").fetchall()
            assert not any(acted)
            worker = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'penguin-v0-%worker'"
            assert content.execute(worker).fetchone() == (0,)
    finally:
        with servers.owner("content") as content:
            content.execute("DROP TRIGGER acted ON email_content; DROP FUNCTION acted(); DROP TABLE acted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_campaign_and_leads_appear_together(url: str, servers: Servers) -> None:
    """A campaign is created with its leads, under the ids that the client chose."""
    campaign, lead = str(uuid.uuid4()), str(uuid.uuid4())
    made(
        url,
        "/campaigns",
        {
            "id": campaign,
            "tenant_id": TENANT,
            "company_id": COMPANY,
            "name": "spring",
            "leads": [{"id": lead, "email": f"{lead}@example.org"}],
        },
    )
    with servers.owner("oltp") as oltp:
        assert oltp.execute("SELECT name FROM campaigns WHERE id = %s", [campaign]).fetchone() == ("spring",)
        assert oltp.execute("SELECT tenant_id::text FROM leads WHERE id = %s", [lead]).fetchone() == (TENANT,)


def test_messages_thread_in_both_directions(url: str) -> None:
    """An outbound message with an attachment, an inbound reply and the answer to it make one thread of three."""
    key = f"messages/{uuid.uuid4()}"
    data = base64.b64encode(b"\x00pdf").decode()
    made(
        url,
        "/messages",
        {
            "storage_key": key,
            "tenant_id": TENANT,
            "direction": "outbound",
            "subject": "hello",
            "from_email": "a@example.org",
            "to_email": "b@example.org",
            "content_text": "text",
            "attachments": [{"filename": "a.pdf", "mime_type": "application/pdf", "content": data}],
        },
    )
    reply = made(url, f"/messages/{key}/replies", {"tenant_id": TENANT, "content_text": "answer"})
    assert (reply["direction"], reply["parent_message_id"]) == ("inbound", key)
    again = made(url, f"/messages/{reply['storage_key']}/replies", {"tenant_id": TENANT, "content_text": "thanks"})
    status, thread = call(url, "GET", f"/messages/{again['storage_key']}/thread?tenant_id={TENANT}")
    assert status == 200
    assert [m["storage_key"] for m in thread["messages"]] == [key, reply["storage_key"], again["storage_key"]]
    status, message = call(url, "GET", f"/messages/{key}?tenant_id={TENANT}")
    assert (status, message["content"]["content_text"], message["attachments"][0]["content"]) == (200, "text", data)
    assert message["created"] and message["subject"] == "hello"
    for known in (key, reply["storage_key"]):
        assert call(url, "PATCH", f"/messages/{known}", {"tenant_id": TENANT, "status": "opened"})[0] == 200
        assert call(url, "GET", f"/messages/{known}?tenant_id={TENANT}")[1]["status"] == "opened"


def test_who_acts_is_known_to_the_database(url: str, servers: Servers) -> None:
    """Each transaction names tenant, user, session, address and agent, and leaves nothing of it to the next one."""
    user, release = str(uuid.uuid4()), call(url, "GET", "/version")[1]["release"]
    table = "v2.email_content" if release == "v2" else "email_content"
    with servers.owner("content") as content:
        content.execute(WITNESS.format(table).encode())
    try:
        told = {"tenant_id": TENANT, "direction": "inbound"}
        headers = {"X-User-Id": user, "X-Session-Id": "s-1", "User-Agent": "it's a test"}
        assert call(url, "POST", "/messages", told, headers)[0] == 201
        assert call(url, "POST", "/messages", told, {"User-Agent": ""})[0] == 201
        with servers.owner("content") as content:
            assert content.execute("SELECT acted FROM acted ORDER BY n").fetchall() == [
                ([TENANT, user, "s-1", "127.0.0.1", "it's a test"],),
                ([TENANT, "", "", "127.0.0.1", ""],),
            ]
    finally:
        with servers.owner("content") as content:
            content.execute(f"DROP TRIGGER acted ON {table}; DROP FUNCTION acted(); DROP TABLE acted".encode())
    with servers.owner("queue") as queue:
        names = queue.execute(
            "SELECT DISTINCT usename::text, application_name FROM pg_stat_activity"
            " WHERE application_name LIKE %s AND datname = current_database() ORDER BY 1",
            [f"penguin-{release}-blue%"],
        ).fetchall()
    assert names == [("penguin_app", f"penguin-{release}-blue"), ("penguin_worker", f"penguin-{release}-blue-worker")]


def test_the_same_message_twice_is_a_conflict(url: str) -> None:
    """A key that is taken is answered with 409, and what does not exist with 404."""
    for direction in ("outbound", "inbound"):
        body = {"storage_key": f"messages/{uuid.uuid4()}", "tenant_id": TENANT, "direction": direction}
        made(url, "/messages", body)
        made(url, "/messages", body, 409)
    assert call(url, "GET", f"/messages/none?tenant_id={TENANT}")[0] == 404
    assert call(url, "PATCH", "/messages/none", {"tenant_id": TENANT, "status": "sent"})[0] == 404


def test_an_unknown_parent(url: str) -> None:
    """The old release stores an unknown parent as it comes, the new one stores none."""
    release = call(url, "GET", "/version")[1]["release"]
    stored = made(url, "/messages", {"tenant_id": TENANT, "direction": "inbound", "parent_message_id": "nowhere"})
    assert stored["parent_message_id"] == ("nowhere" if release == "v1" else None)


def test_unknown_references(url: str) -> None:
    """The new release refuses a message of a campaign that does not exist; the old one never asked."""
    release = call(url, "GET", "/version")[1]["release"]
    body = {"tenant_id": TENANT, "direction": "outbound", "campaign_id": str(uuid.uuid4())}
    made(url, "/messages", body, 201 if release == "v1" else 400)


def test_a_job_is_retried_and_then_worked_once(url: str, servers: Servers) -> None:
    """A job that fails once waits for its backoff, is moved again and completed, with one log row for each attempt."""
    job = enqueue(url, {"fail_times": 1}, priority=10)
    assert work(url) == {"job_id": job, "outcome": "retried"}
    assert call(url, "POST", "/queue/move?limit=10")[1] == {"moved": 0}
    with servers.owner("queue") as queue:
        assert state(queue, job, "run > now()") == (True,)
        queue.execute("UPDATE jobs SET run = now() WHERE id = %s", [job])
    assert call(url, "POST", "/queue/move?limit=10")[1] == {"moved": 1}
    assert work(url) == {"job_id": job, "outcome": "completed"}
    assert work(url) == {"job_id": None, "outcome": None}
    with servers.owner("queue") as queue:
        logs = queue.execute("SELECT status FROM job_logs WHERE job_id = %s ORDER BY attempt_number", [job]).fetchall()
        assert (state(queue, job, "status"), logs) == (("completed",), [("failed",), ("completed",)])


def test_a_job_that_never_works_dies(url: str, servers: Servers) -> None:
    """After its last attempt a job is failed in Postgres and stands in the dead-letter list."""
    job = enqueue(url, {"fail_times": 9}, priority=200, max_attempts=1)
    assert work(url) == {"job_id": job, "outcome": "dead"}
    dead = [json.loads(entry)["id"] for entry in servers.redis().lrange("queue:dead-letter", 0, -1)]
    assert dead.count(job) == 1


def test_a_popped_job_whose_row_is_locked_is_put_back(url: str, servers: Servers) -> None:
    """While somebody holds the row, the worker gets nothing and the entry stays in its list; later it is worked."""
    job = enqueue(url, {})
    with servers.owner("queue") as queue:
        state(queue, job, "id", "FOR UPDATE")
        assert work(url) == {"job_id": None, "outcome": None}
        assert servers.redis().llen("queue:webhook-processing") == 1
    assert work(url) == {"job_id": job, "outcome": "completed"}


def test_an_entry_of_a_finished_job_is_dropped(url: str, servers: Servers) -> None:
    """A job that was pushed twice is worked once."""
    job = enqueue(url, {})
    (entry,) = servers.redis().lrange("queue:webhook-processing", 0, -1)
    servers.redis().lpush("queue:webhook-processing", entry)
    assert work(url) == {"job_id": job, "outcome": "completed"}
    assert work(url) == {"job_id": None, "outcome": None}
    assert servers.redis().llen("queue:webhook-processing") == 0


def test_counters_add_up(url: str) -> None:
    """Two increments of one period and one campaign are both on the billing dashboard."""
    tenant = str(uuid.uuid4())
    now = datetime.now(UTC)
    body = {
        "tenant_id": tenant,
        "campaign_id": str(uuid.uuid4()),
        "company_id": str(uuid.uuid4()),
        "sent": 3,
        "emails_sent": 3,
        "period_start": now.isoformat(),
        "period_end": now.isoformat(),
    }
    made(url, "/analytics", body, 200)
    made(url, "/analytics", body, 200)
    (period,) = call(url, "GET", f"/dashboards/billing?tenant_id={tenant}")[1]["periods"]
    asked = f"/dashboards/campaigns?company_id={body['company_id']}&tenant_id={tenant}"
    (campaign,) = call(url, "GET", asked)[1]["campaigns"]
    assert (period["emails_sent"], campaign["campaign_id"]) == (6, body["campaign_id"])


def test_bad_requests_are_named(url: str) -> None:
    """What cannot be understood is a 400 with a reason, never a 500."""
    for path, body in (
        ("/messages", {}),
        ("/jobs", {"queue_name": "x"}),
        ("/queue/move?limit=0", {}),
        ("/jobs/work", {}),
        ("/messages", {"tenant_id": "x", "direction": "inbound"}),
        ("/campaigns", {"tenant_id": "x", "name": "y"}),
        ("/messages/none/replies", {}),
    ):
        assert made(url, path, body, 400)["error"]
    for path in ("/messages/none", "/messages/none/thread?tenant_id=x", "/dashboards/billing", "/dashboards/campaigns"):
        assert call(url, "GET", path)[0] == 400
    told = {"tenant_id": TENANT, "direction": "inbound"}
    assert call(url, "POST", "/messages", told, {"X-User-Id": "somebody"})[0] == 400


def test_the_load_loses_nothing_and_the_search_can_tell(url: str, servers: Servers, tmp_path: Path) -> None:
    """Nothing fails and all is found; then each kind of loss made on purpose is found, and called what it is."""
    save(servers.environment(url), tmp_path / "environment.json")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rollout.load",
            "--url",
            url,
            "--rate",
            "50",
            "--seconds",
            "8",
            "--seed",
            "3",
            "--environment",
            tmp_path / "environment.json",
            "--into",
            tmp_path / "load",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    summary = json.loads(done.stdout)
    assert (summary["requests"], summary["failed"]) == (400, 0), (tmp_path / "load" / "failures.jsonl").read_text()
    measured = window(tmp_path / "load" / "series.jsonl", 0, 1e10)
    assert (measured.count, measured.max_ms) == (400, summary["max_ms"])

    found = verify(servers.environment(url), tmp_path / "load")
    assert found.passed, found
    assert found.acknowledged_writes == summary["acknowledged_writes"] == sum(found.by_kind.values()) > 100

    lines = [json.loads(line) for line in (tmp_path / "load" / "journal.jsonl").read_text().splitlines()]
    keys = {(line["kind"], line.get("outcome")): line["key"] for line in lines if line["phase"] == "ack"}
    completed, message = keys["worked", "completed"], keys["message", None]
    with servers.owner("oltp") as oltp:
        campaign = next(line for line in lines if line["kind"] == "campaign")
        oltp.execute("DELETE FROM leads WHERE id = %s", [campaign["leads"][0]])
    with servers.owner("content") as content:
        for table in ("email_messages", "content_inbox_message_refs"):
            if content.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone() == (True,):
                content.execute(f"UPDATE public.{table} SET subject = 'edited' WHERE storage_key = %s", [message])
    with servers.owner("queue") as queue:
        queue.execute("INSERT INTO job_logs (job_id, status) VALUES (%s, 'completed')", [completed])
    with servers.owner("olap") as olap:
        olap.execute("UPDATE campaign_analytics SET sent = sent - 1 WHERE campaign_id = %s", [keys["analytics", None]])
    waiting = made(url, "/jobs", {"queue_name": "webhook-processing", "payload": {}})["id"]
    with (tmp_path / "load" / "journal.jsonl").open("a") as stream:
        stream.write(json.dumps({"n": 10**6, "kind": "job", "phase": "ack", "key": waiting}) + "\n")
    while call(url, "POST", "/queue/move?limit=100")[1]["moved"]:
        pass
    for name in servers.redis().scan_iter("queue:webhook*"):
        servers.redis().delete(name)
    found = verify(servers.environment(url), tmp_path / "load")
    assert not found.passed
    assert {(kind["kind"], kind["why"].split(" ")[0]) for kind in found.lost} == {
        ("lead", "no"),
        ("message", "another"),
        ("job", "moved"),
        ("analytics", "campaign"),
    }
    assert [job["key"] for job in found.duplicates] == [completed]
    with servers.owner("olap") as olap:
        olap.execute("UPDATE campaign_analytics SET sent = sent + 2 WHERE campaign_id = %s", [keys["analytics", None]])
    assert verify(servers.environment(url), tmp_path / "load").counted_twice == 1


def enqueue(url: str, payload: dict[str, Any], *, priority: int = 100, max_attempts: int = 3) -> str:
    """Enqueue a job and have it moved to Redis; return its id."""
    job = str(
        made(
            url,
            "/jobs",
            {
                "queue_name": "webhook-processing",
                "payload": {"tenant_id": TENANT, **payload},
                "priority": priority,
                "max_attempts": max_attempts,
            },
        )["id"]
    )
    assert call(url, "POST", "/queue/move?limit=10")[1] == {"moved": 1}
    return job


def work(url: str) -> Any:
    """Have one job worked."""
    return call(url, "POST", "/jobs/work?queue=webhook-processing")[1]


def state(queue: Any, job: str, column: str, lock: str = "") -> Any:
    """Look a job up."""
    return queue.execute(f"SELECT {column} FROM jobs WHERE id = %s {lock}", [job]).fetchone()
