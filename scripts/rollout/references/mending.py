"""References that point at nothing, or at another tenant, mended by a rule and by a person's word; no row is ever deleted.

The rule is that of a foreign key with ON DELETE SET NULL: a column that may be empty is emptied, and the whole row, as it was, is
kept in `rollout.mended`. A column that may not (or holds the tenant itself, or is a key in a document) keeps its value, and
`rollout.reference_kept` says whose word that is: a scan no longer counts these rows as wrong, and every one that comes on top.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from rollout import order, runs
from rollout.engine import ledger
from rollout.engine.ledger import Connection, Fence
from rollout.environment import Database, Environment
from rollout.errors import BadInput
from rollout.objectstore import ObjectStore
from rollout.references import scan
from rollout.references.documented import Reference, expression, references
from rollout.session import Session

SQL = Path(__file__).parent / "sql"
ACT = "references.mend"
BATCH = 500
TIERS = ("content", "queue", "olap")
WORDS_MAX = 2000


@dataclass(frozen=True)
class Mended:
    """What became of one reference: how many rows were `emptied`, how many `kept` as they are; or would be."""

    host: str
    reference: str
    column: str
    emptied: int
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)


def look(env: Environment) -> list[Mended]:
    """Scan, and return what a mend would do to every reference that has wrong rows; the scan is recorded, no row is changed."""
    found: list[Mended] = []
    for database in _databases(env):
        results = scan.one(database, env.tier("oltp"), scan.new_id())
        with ledger.connect(database, "rollout-mend") as connection:
            known = references(connection)
            for result in (r for r in results if r.wrong):
                reference = _reference(known, result)
                empties = _may_be_empty(connection, reference, known)
                found.append(_mended(result, empties, result.wrong))
    return found


def mend(env: Environment, store: ObjectStore, by: str, why: str) -> tuple[list[Mended], dict[str, Any]]:
    """Mend every wrong reference of every live database; return what became of each, and the scan that follows as a run's fact.

    Works under the newest run's lease, in short transactions; stopped in its middle, the same command goes on. Raises BadInput
    without a name and a reason, or without a run; Refused while another command is at work.
    """
    if not by.strip() or not why.strip() or len(why) > WORDS_MAX:
        raise BadInput("who says so, and why?", limit=f"a name, and at most {WORDS_MAX:,} characters",
                       next="invoke references.mend --by NAME --why TEXT", page="runbooks/references.md")  # fmt: skip
    with runs.open_act(
        store, env.name, ACT, operator=getpass.getuser(), lease_seconds=env.settings.lease_seconds, mirror=Path(env.artifacts),
        change=lambda state: None, facts={"by": by.strip(), "why": why.strip()}, allow=order.allow_mending,
    ) as session:  # fmt: skip
        done = [one for database in _databases(env) for one in _mend(env, database, session, by.strip(), why.strip())]
        after = scan.fact(scan.scan(env))
        session.set_fact("references", after)
        told: Any = [one.to_dict() for one in done]
        session.journal.append("act_done", act=ACT, mended=told, wrong_rows=after["wrong_rows"], kept_rows=after["kept_rows"])
    return done, after


def _databases(env: Environment) -> list[Database]:
    return [database for tier in TIERS for database in env.tier(tier)]


def _mend(env: Environment, database: Database, session: Session, by: str, why: str) -> list[Mended]:
    fence, done = Fence(session.run, session.token), []
    with ledger.connect(database, "rollout-mend") as connection:
        ledger.install(connection, fence)
        name = scan.new_id()
        results = scan.one(database, env.tier("oltp"), name)
        known = references(connection)
        for result in (r for r in results if r.wrong):
            reference = _reference(known, result)
            empties = _may_be_empty(connection, reference, known)
            act = _empty if empties else _keep
            rows = act(connection, fence, reference, {"scan": name, "by": by, "why": f"{by}: {why}" if empties else why})
            done.append(_mended(result, empties, rows))
    return done


def _empty(connection: Connection, fence: Fence, reference: Reference, said: dict[str, Any]) -> int:
    """Empty the column where it is wrong, batch by batch, each with the rows as they were."""
    statement, total = _statement("mend", reference), 0
    while True:
        with connection.transaction():
            ledger.check(connection, fence)
            # What the audit trail shows as the client of these changes.
            connection.execute("SELECT set_config('app.user_agent', %s, true)", (f"invoke {ACT} by {said['by']}",))
            rows = connection.execute(statement, _bound(reference) | said | {"limit": BATCH}).rowcount
        total += rows
        if rows == 0:
            return total


def _keep(connection: Connection, fence: Fence, reference: Reference, said: dict[str, Any]) -> int:
    """Note, for each wrong id, that its rows stay; return how many rows that are."""
    bound = _bound(reference) | said | {"run": fence.run}
    with connection.transaction():
        ledger.check(connection, fence)
        connection.execute(_statement("keep", reference), bound)
        row = connection.execute((SQL / "kept.sql").read_bytes(), bound).fetchone()
    return int(row["rows"]) if row else 0


def _may_be_empty(connection: Connection, reference: Reference, known: list[Reference]) -> bool:
    """Return whether emptying the column loses the reference and nothing else: a row without its tenant would be nobody's."""
    says_whose = {r.scope for r in known if r.relation == reference.relation} | {"tenant_id"}
    if reference.source != reference.column_name or reference.source in says_whose or reference.table == "tenants":
        return False
    asked = {"relation": reference.qualified.as_string(), "column": reference.column_name}
    row = connection.execute((SQL / "nullable.sql").read_bytes(), asked).fetchone()
    return bool(row and row["nullable"])


def _reference(known: list[Reference], result: scan.ReferenceResult) -> Reference:
    found = (result.table, result.column, result.referent)
    return next(r for r in known if (r.relation, r.source, r.referent) == found)


def _mended(result: scan.ReferenceResult, empties: bool, rows: int) -> Mended:
    counts = {"emptied": rows, "kept": 0} if empties else {"emptied": 0, "kept": rows}
    return Mended(result.host, f"{result.table}.{result.column} -> {result.referent}", result.column, **counts)


def _statement(name: str, reference: Reference) -> sql.Composed:
    scope = expression(reference.scope) if reference.scope else sql.SQL("NULL")
    return sql.SQL((SQL / f"{name}.sql").read_text()).format(
        relation=reference.qualified, source=expression(reference.source), scope=scope,
        column=sql.Identifier(reference.column_name),
    )  # fmt: skip


def _bound(reference: Reference) -> dict[str, Any]:
    return {
        "relation": reference.relation, "column_name": reference.column_name, "referent": reference.referent,
        "source": reference.source, "qualified": f"{reference.schema}.{reference.relation}",
    }  # fmt: skip


