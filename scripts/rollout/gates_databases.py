"""The gates on databases: sessions that wait for locks, the queue's backlog, replicas that fall behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from rollout import gates
from rollout.environment import TIERS, Database, Environment
from rollout.gates import Verdict, Window

SQL = Path(__file__).parent / "sql"
STATEMENT_TIMEOUT_MS = 5_000
REPLICATION_LAG_MAX_SECONDS = 10.0


def ask(
    database: Database, statement: str, values: dict[str, Any] | None = None, *, folder: Path = SQL,
    session: str = "rollout-gates", timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run a read-only statement of a folder on a database, in a session of that name; return its rows, or give up in time."""
    with psycopg.connect(database.conninfo(session), row_factory=dict_row) as connection:
        connection.read_only = True
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(timeout_ms),))
        return connection.execute((folder / statement).read_bytes(), values).fetchall()


def live(environment: Environment) -> list[Database]:
    """Return every live database, tier by tier."""
    return [d for tier in TIERS for d in environment.tier(tier)]


def database_sessions(environment: Environment, window: Window) -> Verdict:
    """No session of the application waits for a lock longer than the stall budget of a change."""
    limit = environment.settings.stall_budget_total_ms
    seen = {d.host: ask(d, "gate_sessions.sql", {"app_roles": d.app_roles})[0] for d in live(environment)}
    facts: dict[str, Any] = {
        host: {
            "sessions": int(row["sessions"]),
            "waiting": int(row["waiting"]),
            "longest_ms": round(float(row["longest_ms"]), 1),
            "blockers": list(row["blockers"]),
        }
        for host, row in seen.items()
    }
    host = max(facts, key=lambda h: facts[h]["longest_ms"])
    longest = gates.finite(facts[host]["longest_ms"])
    observed = f"longest wait for a lock {longest:g} ms" + (
        f" on {host}, behind {facts[host]['blockers']}" if longest else ""
    )
    value: gates.Value = "fail" if longest > limit else "pass"
    if not any(f["sessions"] for f in facts.values()):
        value, observed = "inconclusive", "the application has no session on any database: nothing could be seen"
    return Verdict("database_sessions", value, observed, f"{limit} ms", gates.page("database_sessions"), facts)


def queue_state(environment: Environment, since: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return, by host, the jobs ready and not moved, since when the first is due (s), those moved since, and the clock.

    `since`: epoch seconds by host; without it none counts as moved.
    """
    return {
        d.host: ask(d, "gate_queue.sql", {"since": (since or {}).get(d.host)})[0] for d in environment.tier("queue")
    }


def queue_age(environment: Environment, window: Window) -> Verdict:
    """Judge whether the oldest ready job grew older, with more behind it, by more than the limit since the start.

    An old backlog does not count, only its ageing; nor does a job that nobody moves while the rest is moved: of what
    came since, more must have been left behind than moved. A window shorter than twice the limit is judged by half its
    length, since an age cannot grow by more than the window is long. Batches make the age a sawtooth: only a full window fails.
    """
    before = window.start.get("queue")
    if not before:
        raise ValueError(f"the queue at the start is missing: {window.start.get('queue_missing', 'not taken')}")
    facts: dict[str, Any] = {}
    verdicts, aged, limit = [], 0.0, environment.settings.gate_queue_age_max_seconds
    for host, now in queue_state(environment, {host: state["at"] for host, state in before.items()}).items():
        elapsed = gates.finite(now["at"] - before[host]["at"])
        older = gates.finite(now["oldest_seconds"] - before[host]["oldest_seconds"])
        more = now["ready"] - before[host]["ready"]
        limit = min(limit, elapsed / 2)
        facts[host] = {
            "before": before[host],
            "now": now,
            "elapsed_seconds": elapsed,
            "older_seconds": older,
            "more": more,
        }
        aged = max(aged, older)
        early = elapsed < environment.settings.gate_window_seconds
        bad: gates.Value = "inconclusive" if early else "fail"
        verdicts.append(bad if older > limit and more > now["moved"] else "pass")
    value: gates.Value = "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    waiting = sum(f["now"]["ready"] for f in facts.values())
    more = sum(f["more"] for f in facts.values())
    moved = sum(f["now"]["moved"] for f in facts.values())
    observed = f"the oldest ready job aged by {aged:.1f} s, {waiting:.0f} ready ({more:+.0f}), {moved:.0f} moved"
    return Verdict("queue_age", value, observed, f"{limit:.1f} s", gates.page("queue_age"), facts)


def replicas(environment: Environment) -> dict[str, list[str]]:
    """Return the names of the replicas attached to each live database, by host."""
    return {d.host: sorted(str(row["replica"]) for row in ask(d, "gate_replication.sql")) for d in live(environment)}


def replication_lag(environment: Environment, window: Window) -> Verdict:
    """Every replica of every live database streams and is close behind, and none that was there at the start is gone.

    A dead replica is no longer listed, so that it can only be missed. A database without replicas says so.
    """
    before = window.start.get("replicas")
    if before is None:
        raise ValueError(f"the replicas at the start are missing: {window.start.get('replicas_missing', 'not taken')}")
    rows = [(d.host, row) for d in live(environment) for row in ask(d, "gate_replication.sql")]
    limit = f"{REPLICATION_LAG_MAX_SECONDS:g} s"
    now = Counter((host, str(row["replica"])) for host, row in rows)
    gone = [
        f"{name} of {host}"
        for host, name in (Counter((h, n) for h, names in before.items() for n in names) - now).elements()
    ]
    if gone:
        facts: dict[str, Any] = {"replicas": len(rows), "gone": gone, "before": before}
        observed = f"no longer attached: {', '.join(gone)}"
        return Verdict("replication_lag", "fail", observed, limit, gates.page("replication_lag"), facts)
    if not rows:
        return Verdict(
            "replication_lag", "pass", "no replicas attached", limit, gates.page("replication_lag"), {"replicas": 0}
        )
    worst = max(gates.finite(float(row["lag_seconds"])) for _, row in rows)
    away = [f"{row['replica']} of {host} is {row['state']}" for host, row in rows if row["state"] != "streaming"]
    facts = {
        "replicas": len(rows),
        "not_streaming": away,
        "lag_seconds": {f"{host}/{row['replica']}": float(row["lag_seconds"]) for host, row in rows},
    }
    value: gates.Value = "fail" if worst > REPLICATION_LAG_MAX_SECONDS else "inconclusive" if away else "pass"
    observed = f"longest lag {worst:.1f} s over {len(rows)} replicas" + (f"; {', '.join(away)}" if away else "")
    return Verdict("replication_lag", value, observed, limit, gates.page("replication_lag"), facts)
