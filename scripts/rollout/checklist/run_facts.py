"""Probes on what the steps of the run left: comparisons, scans, restored copies, the journal, the last load run."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from rollout.checklist.probe import Asked, Observation, probe
from rollout.engine import changes


@probe("compared", reads="run")
def compared(asked: Asked) -> Observation:
    """Read the newest comparison of each live database that has one planned: of this rollback, or since the last one (%)."""
    state = asked.state
    places = [
        d.host for d in asked.environment.databases
        if d.host_set == "live" and any(c.rewrites for c in changes.plan(d.tier))
    ]  # fmt: skip
    back: Any = state.facts.get("traffic_back")
    since, returning = int(back["token"]) if back else 0, bool(state.phases["rollback"].attempts)
    # A rollback that has begun counts its own comparisons alone, and all going forward again makes it void.
    first = since if returning else since + 1
    seen = {h: fact for h, fact in asked.facts("compared").items() if h in places and fact["token"] >= first}
    if not returning:
        # Only a rollback may find a database without anything to compare.
        seen = {host: fact for host, fact in seen.items() if fact["changes"]}
    results = [(change, result) for fact in seen.values() for change, result in fact["changes"].items()]
    wrong = [str(result["failed"]) for _, result in results if "failed" in result]
    rows = sum(int(result["rows"]) for _, result in results)
    phases = ", ".join(sorted({str(fact["phase"]) for fact in seen.values()}))
    words = (
        f"{rows:,} rows of {len(results) - len(wrong)} changes compared on {len(seen)} of {len(places)} databases"
        + (f" (phase {phases})" if phases else "")
        + (f"; {'; '.join(wrong)}" if wrong else ", 0 differ")
    )
    return _of_all(places, seen, wrong=bool(wrong), words=words, source="comparison of authority and shadow, row by row")


@probe("references", reads="run")
def references(asked: Asked) -> Observation:
    """Rows that refer to what another database does not have, or has for another tenant."""
    found: Any = asked.fact("references")
    source = "scan of every documented reference between databases"
    if not found:
        return Observation(reason="this run has scanned no references", source=source)
    wrong, scanned, kept = int(found["wrong_rows"]), int(found["scanned_rows"]), int(found.get("kept_rows", 0))
    words = f"{scanned:,} references scanned, {wrong:,} point at nothing or at another tenant"
    word = f"{kept:,} more do, and are kept as they are by the word of {'; '.join(found.get('kept_by', []))}"
    at = float(found.get("at", time.time()))
    return Observation(float(wrong), scanned, words, source, attested=word if kept else "", at=at)


@probe("proven_backups", reads="run")
def proven_backups(asked: Asked) -> Observation:
    """Share of the live places whose newest backup was restored and compared within the agreed time (%)."""
    environment, limit_hours = asked.environment, float(asked.parameter("age_max_hours"))
    places = [d.host for d in environment.databases if d.host_set == "staging"]
    places += [r.host for r in environment.redis if r.host_set == "staging"]
    proofs = _of_last_snapshot(asked, "proof")
    rows, different = (sum(int(p[key]) for p in proofs.values()) for key in ("rows", "differences_total"))
    empty = any(p["tables"] + p["objects"] == 0 for p in proofs.values())
    words = f"{len(proofs)} of {len(places)} copies restored and compared, {rows:,} rows and keys, {different} differences"
    old = [p for p in proofs.values() if time.time() - float(p.get("at", 0)) > limit_hours * 3600]
    if old:
        hours = (time.time() - min(float(p.get("at", 0)) for p in old)) / 3600
        words += f"; the oldest is {hours:,.0f} h old, limit {limit_hours:g} h"
    bad = bool(different or empty or old)
    source = "restored copies on staging, digest by digest, and their manifest"
    return _of_all(places, proofs, wrong=bad, words=words, source=source)


@probe("load_users", reads="run")
def load_users(asked: Asked) -> Observation:
    """Users that the last load run kept served; when fewer than the target, what they extrapolate to, which decides nothing."""
    found = asked.latest.get("load_run")
    if not found:
        return Observation(reason="no load run: invoke load --users 200 --minutes 2", source="a load run")
    users, cpu = int(found["users"]), float(found["cpu_percent"])
    words = (
        f"{users:,} users for {found['seconds']:.0f} s, {found['requests']:,} requests, {found['failures']:,} failed,"
        f" p95 {found['p95_ms']:.0f} ms, processors {cpu:.0f} % busy"
    )
    limit = float(asked.parameter("cpu_max_percent"))
    reach = users * limit / cpu if cpu > 0 else float("nan")
    why = f"extrapolated to {reach:,.0f} at {limit:g} % of these processors, assuming that work grows with users"
    short = asked.short_of(users, why)
    source = f"load run {found['name']} through the load balancer"
    return Observation(float(users), int(found["requests"]), words, source, short, failed=bool(found["failures"]),
                       at=float(found["at"]), facts=found)  # fmt: skip


@probe("load_growth", reads="run")
def load_growth(asked: Asked) -> Observation:
    """Growth of the databases in the last load run, as GB a month; whether a month of it fits is not seen in minutes."""
    found = asked.latest.get("load_run")
    if not found:
        return Observation(reason="no load run: invoke load --users 200 --minutes 2", source="a load run")
    grown, seconds = int(found["grown_bytes"]), float(found["seconds"])
    month = grown / seconds * 30 * 86_400 / 1e9 if seconds else float("nan")
    words = f"{grown / 1e6:,.1f} MB grown in {seconds:.0f} s, {month:,.0f} GB a month at that rate"
    short = "a month was not run: the rate is measured, assuming that it lasts, disk and vacuum at that size are not"
    return Observation(month, int(found["requests"]), words, f"pg_database_size around load run {found['name']}", short,
                       at=float(found["at"]))  # fmt: skip


def _of_all(places: list[str], seen: dict[str, Any], *, wrong: bool, words: str, source: str) -> Observation:
    """Return 100 % only when every planned place has a result and none is bad; failure needs no completeness."""
    if wrong:
        return Observation(observed=words, source=source, failed=True, at=_newest(seen))
    if not places or not set(places) <= set(seen):
        return Observation(reason=words, source=source, n=len(seen), at=_newest(seen))
    return Observation(100.0, len(seen), words, source, at=_newest(seen))


def _of_last_snapshot(asked: Asked, prefix: str) -> dict[str, Any]:
    """Return facts of phase 1 by host, without those of an attempt before the newest snapshot was begun."""
    begun: Any = asked.fact("snapshot.token") or 0
    return {host: fact for host, fact in asked.facts(prefix).items() if fact["token"] >= begun}


def _newest(seen: dict[str, Any]) -> float:
    stamps = [float(fact["at"]) for fact in seen.values() if fact.get("at")]
    return max(stamps, default=datetime.now().timestamp())  # noqa: DTZ005  (a timestamp has no zone)
