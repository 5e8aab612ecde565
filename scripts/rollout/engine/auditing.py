"""The kind `audit`: row triggers that fill public.audit_log_enhanced, on whichever relation has authority, one at a time.

The swap arms them, the revert takes them off; the log, and what it holds, stays. Both go relation by relation, each in a short
transaction of its own, and find out from the catalogue what is left to do: a swap that was killed in its middle goes on with
the same call, and a revert takes back as much of it as there is. A shadow gets no trigger, so what a sync writes is audited once.
After a contract the triggers have moved home with their tables.
"""

from __future__ import annotations

from typing import Any

from rollout.engine import authority, ledger
from rollout.engine.acting import ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE
from rollout.engine.authority import Authority
from rollout.engine.changes import Change
from rollout.engine.declaration import Audited
from rollout.engine.kinds import Kind
from rollout.engine.ledger import Connection
from rollout.engine.locks import Stalls, with_locks
from rollout.engine.rewrite.description import ident
from rollout.engine.rewrite.templates import render
from rollout.errors import Refused

TRIGGER, TRUNCATED = "audit_trail", "audit_trail_truncate"
ROLES = "SELECT r AS role FROM unnest(%s::text[]) AS r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)"
ARMED = """
SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation,
    array_agg(DISTINCT t.tgfoid::regprocedure::text) AS functions
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgname = ANY (%s) AND t.tgparentid = 0 AND NOT t.tgisinternal GROUP BY 1, 2 ORDER BY 2
"""
# What readers get: the log and its chain, and of the ledger what holds no row of the product.
READABLE = ("public.audit_log_enhanced", "audit.chain", "audit.blocks", "rollout.changes", "rollout.events", "rollout.fence")
BYTES = {"bytea": "@", "text": "convert_to(@, 'UTF8')", "character varying": "convert_to(@, 'UTF8')"}


class Auditing(Kind):
    """The stages of one audit trail."""

    def make(self) -> dict[str, Any]:
        """Make the log, its partitions and its chain where they are missing, and let the readers read. No client waits."""
        declared = self.change.declaration.audit
        assert declared is not None
        readers = declared.readers
        if missing := [str(row["role"]) for row in self.connection.execute(ROLES, (readers,)).fetchall()]:
            words = f"role {', '.join(missing)}, which is to read the audit trail, does not exist"
            raise Refused(words, next="have it made (it needs LOGIN alone), and repeat the command")
        stalls = Stalls()
        with self.connection.transaction():
            ledger.check(self.connection, self.fence)
            # Only who reads the log may wait, for a new partition.
            self.connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{self.settings.stall_budget_once_ms}ms",))
            self.connection.execute(self.change.sql("expand") or b"")
            self.run([s for reader in readers for s in _readable(ident(reader))])
            self.verify("expand")
            ledger.reach(self.connection, self.fence, self.change.name, "expanded", self.change.sha256)
        return stalls.to_dict()

    def swap(self) -> dict[str, Any]:
        """Arm the triggers, then check that every table has one."""
        with self.connection.transaction():  # before the first row: a database that was restored elsewhere counts anew
            ledger.check(self.connection, self.fence)
            self.connection.execute("SELECT audit.settle(), audit.make_partitions()")
        armed = self._arm(missing=Refused)
        return self._ended("swap", "swapped", armed)

    def revert(self) -> dict[str, Any]:
        """Take every trigger off, wherever it stands. The log stays."""
        taken = self._disarm()
        return self._ended("revert", "copied", taken)

    def go_home(self) -> dict[str, Any]:
        """Check that the triggers have come home with their tables, and arm what lacks one."""
        return self._ended("contract", "contracted", self._arm(missing=None))

    def discard(self) -> dict[str, Any]:
        """Take the triggers off; the log goes only when it never held anything (discard.sql)."""
        self._disarm()
        return self.locked("discard", None, ACCESS_EXCLUSIVE)

    def half_done(self) -> bool:
        """Tell whether a trigger stands anywhere: a swap that was killed has left some."""
        return bool(self._armed())

    def _arm(self, *, missing: type[Refused] | None) -> list[Stalls]:
        stalls = []
        for one, found in authorities(self.connection, self.change):
            if found is None:
                if missing:
                    raise missing(f"{one.table} does not exist", next="correct change.yml, or make the table")
                continue  # a name that contract has ended; the table that it stood for has another
            if found.enabled != "A":
                stalls.append(self._locked(found.relation, SHARE_ROW_EXCLUSIVE, "armed", arm(one, found)))
        return stalls

    def _disarm(self) -> list[Stalls]:
        stalls = []
        for row in self._armed():
            drop = disarm(str(row["relation"]), row["functions"])
            stalls.append(self._locked(str(row["relation"]), ACCESS_EXCLUSIVE, "disarmed", drop))
        return stalls

    def _armed(self) -> list[dict[str, Any]]:
        return self.connection.execute(ARMED, ([TRIGGER, TRUNCATED],)).fetchall()

    def _locked(self, relation: str, mode: str, event: str, statements: list[str]) -> Stalls:
        """Run statements on one relation under its lock, with the event of it, in one short transaction."""
        stalls = Stalls()

        def work() -> None:
            ledger.check(self.connection, self.fence)
            self.run(statements)
            ledger.record(self.connection, self.fence, self.change.name, event, relation=relation)

        with_locks(self.connection, [relation], mode, self.settings, stalls, work)
        return stalls

    def _ended(self, stage: str, reached: str, all_stalls: list[Stalls]) -> dict[str, Any]:
        """Verify and reach the stage; return what the relations' locks cost, the longest of them as what was held."""
        with self.connection.transaction():  # no limit: nobody waits for it
            ledger.check(self.connection, self.fence)
            self.verify(stage)
            ledger.reach(self.connection, self.fence, self.change.name, reached, self.change.sha256)
        told = [stalls.to_dict() for stalls in all_stalls]
        return Stalls().to_dict() | {"relations": len(told), "held_ms": max((float(t["held_ms"]) for t in told), default=0.0)}


def authorities(connection: Connection, change: Change) -> list[tuple[Audited, Authority | None]]:
    """Return each declared table with what has authority under its name; two old names may share one table by now."""
    declared = change.declaration.audit
    assert declared is not None
    seen: set[int] = set()
    result: list[tuple[Audited, Authority | None]] = []
    for one in declared.tables:
        found = authority.find(connection, one.table, TRIGGER)
        if found is None or found.oid not in seen:
            result.append((one, found))
        if found:
            seen.add(found.oid)
    return result


def disarm(relation: str, functions: list[str]) -> list[str]:
    """Return what takes the triggers off a relation, and their functions with them."""
    drop = [f"DROP TRIGGER IF EXISTS {name} ON {relation}" for name in (TRIGGER, TRUNCATED)]
    return drop + [f"DROP FUNCTION {function}" for function in functions]


def arm(one: Audited, found: Authority) -> list[str]:
    """Return the function and the triggers of one table."""
    if unknown := sorted({*one.key, *one.digest} - set(found.columns)):
        raise Refused(f"{found.relation} has no column {', '.join(unknown)}", next="correct change.yml")
    key = one.key or (["id"] if "id" in found.columns else found.key)
    on = found.relation
    function = f"audit.{ident(f'record_{found.name}'[:63])}"
    runs = f"EXECUTE FUNCTION {function}()"
    made = render(
        "audit_record.sql.j2", function=function, tenant=one.tenant, resource=found.name, key=key, columns=list(found.columns),
        digests={column: BYTES.get(found.columns[column], "convert_to(@::text, 'UTF8')") for column in one.digest},
    )  # fmt: skip
    return [
        made,
        f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
        f"CREATE OR REPLACE TRIGGER {TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {on} FOR EACH ROW {runs}",
        f"CREATE OR REPLACE TRIGGER {TRUNCATED} AFTER TRUNCATE ON {on} FOR EACH STATEMENT {runs}",
        # Also for sessions that pass ordinary triggers by.
        f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {TRIGGER}",
        f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {TRUNCATED}",
    ]


def _readable(reader: str) -> list[str]:
    return [
        f"GRANT USAGE ON SCHEMA audit, rollout TO {reader}",
        f"GRANT SELECT ON {', '.join(READABLE)} TO {reader}",
        "DROP POLICY IF EXISTS audit_reader ON public.audit_log_enhanced",
        f"CREATE POLICY audit_reader ON public.audit_log_enhanced FOR SELECT TO {reader} USING (true)",
    ]
