"""Probes on what is enforced: row security by catalogue and through the application, and the audit trails."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

from rollout import row_security
from rollout.audit import evidence
from rollout.checklist.databases import ask
from rollout.checklist.probe import Asked, Observation, probe
from rollout.engine import ledger
from rollout.gates_databases import live

ANSWER_SECONDS = 10.0
NOT_THERE = 404


@probe("foreign_tenant", reads="state")
def foreign_tenant(asked: Asked) -> Observation:
    """Messages asked for through the load balancer, in the name of their tenant and of another: answers that are wrong."""
    wanted = int(asked.parameter("requests"))
    rows = [r for d in asked.environment.tier("content") for r in ask(d, "tenants.sql", {"limit": wanted})]
    source = f"GET /messages through {asked.environment.load_balancer.url}"
    tenants = sorted({str(r["tenant_id"]) for r in rows})
    if len(tenants) < 2:
        return Observation(n=0, reason="there are no messages of two tenants to ask for", source=source)
    leaks, refused = [], 0
    for number, row in enumerate(rows):
        own = str(row["tenant_id"])
        other = next(t for t in tenants[number % len(tenants) :] + tenants if t != own)
        key = str(row["storage_key"])
        refused += _asked(asked, key, own) == NOT_THERE
        if _asked(asked, key, other) != NOT_THERE:
            leaks.append(key)
    words = f"{len(rows)} messages asked for by their own tenant and by another: {len(leaks)} shown to the other"
    if refused:
        return Observation(observed=f"{words}; {refused} not shown to their own", source=source, failed=True)
    return Observation(float(len(leaks)), len(rows), words, source, facts={"leaks": leaks[:20]})


def _asked(asked: Asked, key: str, tenant: str) -> int:
    """Return the status of a request for a message; raise OSError when nothing answers."""
    url = f"{asked.environment.load_balancer.url}/messages/{urllib.parse.quote(key)}?tenant_id={tenant}"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            json.loads(answer.read())
            return int(answer.status)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        return error.code


@probe("row_security", reads="state")
def row_security_coverage(asked: Asked) -> Observation:
    """Share of the relations with tenants' rows, of every live database, that show a tenant its own alone (%)."""
    lines = [line for line in row_security.of(asked.environment) if line["verdict"] != "not multi-tenant"]
    wrong = [f"{line['relation']} on {line['host']}: {line['why']}" for line in lines if line["verdict"] == "fail"]
    source = "the catalogues of every live database (invoke rls.report)"
    if not lines:
        return Observation(n=0, reason="no relation is declared to hold tenants' rows", source=source)
    words = f"{len(lines) - len(wrong)} of {len(lines)} relations bound to their tenant"
    words += f"; not: {'; '.join(wrong[:3])}" if wrong else ""
    return Observation(100 * (1 - len(wrong) / len(lines)), len(lines), words, source, facts={"failing": wrong[:100]})


@probe("audit_trails", reads="state")
def audit_trails(asked: Asked) -> Observation:
    """Count the problems of the run's journal and of every live database's audit trail, both recomputed from what is stored."""
    problems, events = list(asked.journal.problems), len(asked.journal.events)
    rows, without = 0, list[str]()
    for database in live(asked.environment):
        with ledger.connect(database, "rollout-checklist") as connection:
            found = evidence.verify(connection, asked.store, database.host)
        if found is None:
            without.append(database.host)
            continue
        rows += found.rows
        problems += [f"{database.host}: {found.wrong.says}"] if found.wrong else []
    words = f"journal of {events} events, audit trails of {rows:,} rows: "
    words += "; ".join(problems[:3]) if problems else "complete, chains intact"
    source = "the hash chains, recomputed, and their heads in the object store"
    facts = {"problems": problems[:20]}
    if problems:  # however few rows could be read until then
        return Observation(float(len(problems)), events + rows, words, source, failed=True, facts=facts)
    if without:
        return Observation(reason=f"no audit trail on {', '.join(without)}", source=source, facts=facts)
    return Observation(0.0, events + rows, words, source, facts=facts)
