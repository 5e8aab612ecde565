"""Probes on the databases: their catalogues, their sessions, what they hold."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rollout import gates_databases
from rollout.checklist.probe import Asked, Observation, probe
from rollout.gates_databases import live

ask = partial(
    gates_databases.ask, folder=Path(__file__).parent / "sql", session="rollout-checklist", timeout_ms=10_000
)


@probe("job_failures", reads="window")
def job_failures(asked: Asked) -> Observation:
    """Share of the attempts at jobs that failed (%), those aside whose payload asks for it."""
    n, failed, source = _attempts(asked)
    words = f"{failed:,} of {n:,} attempts failed"
    if not n:
        return Observation(n=0, reason="no attempt ended in the window", source=source)
    return Observation(100 * failed / n, n, words, source, since=asked.since, until=asked.until)


@probe("job_throughput", reads="window")
def job_throughput(asked: Asked) -> Observation:
    """Jobs completed a minute. Fewer than the target say what was offered, not what the queue can do."""
    n, failed, source = _attempts(asked)
    done, minutes = n - failed, (asked.until - asked.since) / 60
    if not done or minutes <= 0:
        return Observation(n=0, reason="no job was worked in the window", source=source)
    rate = done / minutes
    short = asked.short_of(rate, "that many were offered; the target needs more load")
    return Observation(rate, done, f"{rate:,.0f} jobs a minute offered and worked", source, short,
                       since=asked.since, until=asked.until)  # fmt: skip


def _attempts(asked: Asked) -> tuple[int, int, str]:
    rows = [
        ask(d, "attempts.sql", {"since": asked.since, "until": asked.until})[0] for d in asked.environment.tier("queue")
    ]
    completed, failed = sum(int(r["completed"]) for r in rows), sum(int(r["failed"]) for r in rows)
    return completed + failed, failed, f"job_logs of {', '.join(d.host for d in asked.environment.tier('queue'))}"


@probe("content_compression", reads="state")
def content_compression(asked: Asked) -> Observation:
    """Share of the content's bytes that storage saves (%), as Postgres stores the columns now."""
    hosts = asked.environment.tier("content")
    rows = [ask(d, "compression.sql")[0] for d in hosts]
    raw, stored = sum(int(r["raw"] or 0) for r in rows), sum(int(r["stored"] or 0) for r in rows)
    source = f"octet_length and pg_column_size of a sample of email_content on {', '.join(d.host for d in hosts)}"
    if not raw:
        return Observation(n=0, reason="no content is stored", source=source)
    long, stored_long = (sum(int(r[key] or 0) for r in rows) for key in ("raw_long", "stored_long"))
    words = f"{raw / 1e6:,.1f} MB of content stand in {stored / 1e6:,.1f} MB; {100 * long / raw:.0f} % of it is in mails of"
    words += f" 2 kB or more, which alone are compressed, by {100 * (1 - stored_long / long) if long else 0:.0f} %"
    return Observation(100 * (1 - stored / raw), sum(int(r["n"]) for r in rows), words, source)


@probe("connection_encryption", reads="state")
def connection_encryption(asked: Asked) -> Observation:
    """Share of the clients' sessions over a network that are encrypted (%), on every live database."""
    rows = [{"host": d.host, **r} for d in live(asked.environment) for r in ask(d, "encryption.sql")]
    counted = [r for r in rows if asked.parameter("loopback_is_a_network") or not r["loopback"]]
    plain = [r for r in counted if not r["ssl"]]
    n, bare = sum(int(r["sessions"]) for r in counted), sum(int(r["sessions"]) for r in plain)
    source = f"pg_stat_ssl of {len(live(asked.environment))} databases"
    if not n:
        local = sum(int(r["sessions"]) for r in rows)
        return Observation(n=0, reason=f"none of the {local} sessions crosses a network (loopback only)", source=source)
    words = f"{n - bare} of {n} sessions over a network are encrypted"
    words += f"; not: {', '.join(sorted({r['role'] + ' on ' + r['host'] for r in plain})[:5])}" if plain else ""
    return Observation(100 * (n - bare) / n, n, words, source)


@probe("access_controls", reads="state")
def access_controls(asked: Asked) -> Observation:
    """Rights that no role of the product should have, on every live database: a count, and which."""
    found = [f"{d.host}: {r['finding']}" for d in live(asked.environment) for r in ask(d, "access.sql", {"app": d.app_role})]
    words = f"{len(found)} findings" + (f": {'; '.join(found[:5])}" if found else " among the roles that may log in")
    source = f"pg_roles, pg_auth_members and privileges on {len(live(asked.environment))} databases"
    return Observation(float(len(found)), len(live(asked.environment)), words, source, facts={"findings": found[:50]})
