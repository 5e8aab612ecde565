"""The scan: which rows of content, queue and olap refer to what oltp does not have, or has for another tenant.

Set-based: the distinct ids that a table holds are gathered first, then oltp's ids are streamed in beside them (COPY,
bounded memory), then one join judges them all. In that order, a row that is written while the scan runs cannot look
like an orphan: whatever the gathered rows refer to existed before oltp is read. The order of the product's own deletes
(referent first or last) decides whether one that goes meanwhile is reported; the next scan tells. An empty id refers to nothing.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from rollout.engine import ledger
from rollout.environment import Database, Environment, HostSet
from rollout.errors import Failed, Refused
from rollout.references.documented import Reference, expression, references
from rollout.references.pipe import pipe

RECORD = Path(__file__).parent / "sql" / "record.sql"
SCANS_KEPT = 20


@dataclass(frozen=True)
class ReferenceResult:
    """What a scan found of one reference; numbers are rows. `orphans` includes `malformed` (ids that are no UUID). Of orphans and
    foreign_tenant, `kept` stay by the word of `kept_by` (names and reasons)."""

    tier: str
    table: str
    column: str
    referent: str
    rows: int
    orphans: int
    foreign_tenant: int
    malformed: int
    host: str
    scan: str
    kept: int = 0
    kept_by: str = ""

    @property
    def wrong(self) -> int:
        """Rows that point at nothing or at another tenant, and that nobody has answered for."""
        return self.orphans + self.foreign_tenant - self.kept


def scan(environment: Environment, host_set: HostSet = "live", *, scan_id: str | None = None) -> list[ReferenceResult]:
    """Scan every documented reference of a host set; every wrong id goes to rollout.reference_findings of its database.

    Repeating a `scan_id` (default: the time, UTC) replaces what it found. Raise Refused when a database documents no
    reference (001 is not expanded there), Failed when a database is away or a comment cannot be read.
    """
    name = scan_id or new_id()
    oltp = environment.tier("oltp", host_set)
    return [
        result
        for tier in ("content", "queue", "olap")
        for database in environment.tier(tier, host_set)
        for result in one(database, oltp, name)
    ]


def new_id() -> str:
    """Return the id of a scan that begins now: the time, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def one(database: Database, oltp: list[Database], name: str) -> list[ReferenceResult]:
    """Scan every documented reference of one database under a scan id; raise as `scan` does."""
    with ExitStack() as stack:
        connection = stack.enter_context(ledger.connect(database, "rollout-scan"))
        # An owner that row security binds (FORCE) gets an error instead of fewer rows.
        connection.execute("SET row_security = off")
        documented = references(connection)
        if not documented:
            raise Refused(
                f"{database.host} documents no references",
                limit="001_cross_database_integrity expanded",
                next="invoke deploy --phase 2",
            )
        sources = [stack.enter_context(ledger.connect(other, "rollout-scan")) for other in oltp]
        for source in sources:
            source.execute("SET row_security = off")
        for number, reference in enumerate(documented):
            _gather(connection, number, reference)
        referents: dict[tuple[str, str, str | None], sql.Identifier] = {}
        for reference in documented:
            wanted = (reference.table, reference.column, reference.referent_scope)
            if wanted not in referents:
                referents[wanted] = sql.Identifier(f"referents_{len(referents)}")
                _bring(sources, connection, reference, referents[wanted])
        found = []
        with connection.transaction():
            connection.execute("DELETE FROM rollout.reference_scans WHERE scan = %s", (name,))
            for number, reference in enumerate(documented):
                wanted = (reference.table, reference.column, reference.referent_scope)
                found.append(_record(connection, database, name, number, reference, referents[wanted]))
            connection.execute(
                "DELETE FROM rollout.reference_scans WHERE scan NOT IN (SELECT scan FROM rollout.reference_scans"
                " GROUP BY scan ORDER BY max(scanned_at) DESC LIMIT %s)",
                (SCANS_KEPT,),
            )
        return found


def _gather(connection: ledger.Connection, number: int, reference: Reference) -> None:
    source = expression(reference.source)
    scope = expression(reference.scope) if reference.scope else sql.SQL("NULL")
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} AS SELECT lower({}::text) AS id, lower({}::text) AS scope, count(*) AS rows"
            " FROM {} WHERE nullif({}::text, '') IS NOT NULL GROUP BY 1, 2"
        ).format(sql.Identifier(f"referencing_{number}"), source, scope, reference.qualified, source)
    )
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(f"referencing_{number}")))


def _bring(
    sources: list[ledger.Connection], connection: ledger.Connection, reference: Reference, table: sql.Identifier
) -> None:
    connection.execute(sql.SQL("CREATE TEMP TABLE {} (id text, scope text)").format(table))
    scope = sql.Identifier(reference.referent_scope) if reference.referent_scope else sql.SQL("NULL")
    query = sql.SQL("SELECT {}::text, {}::text FROM public.{}").format(
        sql.Identifier(reference.column), scope, sql.Identifier(reference.table)
    )
    for source in sources:
        pipe(source, query, connection, table)
    connection.execute(sql.SQL("ANALYZE {}").format(table))


def _record(
    connection: ledger.Connection,
    database: Database,
    name: str,
    number: int,
    reference: Reference,
    referents: sql.Identifier,
) -> ReferenceResult:
    statement = sql.SQL(RECORD.read_text()).format(
        referencing=sql.Identifier(f"referencing_{number}"), referents=referents
    )
    bound = {
        "scan": name,
        "relation": reference.relation,
        "column_name": reference.column_name,
        "referent": reference.referent,
        "source": reference.source,
        "scoped": reference.scope is not None,
    }
    row = connection.execute(statement, bound).fetchone()
    if row is None:
        raise Failed(f"{reference.relation}.{reference.column_name}: nothing was recorded", next="repeat the command")
    return ReferenceResult(
        tier=database.tier,
        table=reference.relation,
        column=reference.source,
        referent=reference.referent,
        rows=row["rows"],
        orphans=row["orphans"],
        foreign_tenant=row["foreign_tenant"],
        malformed=row["malformed"],
        host=database.host,
        scan=name,
        kept=row["kept"],
        kept_by=row["kept_by"] or "",
    )


def fact(results: list[ReferenceResult]) -> dict[str, Any]:
    """Return what a run keeps of a scan: rows scanned, wrong and kept, and the same of each reference; JSON-native."""
    rows = [
        {"tier": r.tier, "reference": f"{r.table}.{r.column} -> {r.referent}", "rows": r.rows, "orphans": r.orphans,
         "foreign_tenant": r.foreign_tenant, "kept": r.kept}
        for r in results
    ]  # fmt: skip
    return {
        "scanned_rows": sum(r.rows for r in results), "wrong_rows": sum(r.wrong for r in results),
        "kept_rows": sum(r.kept for r in results), "kept_by": sorted({r.kept_by for r in results if r.kept}),
        "references": rows, "at": time.time(),
    }  # fmt: skip
