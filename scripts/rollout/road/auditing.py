"""The step that seals the audit trail at a phase's end: its head goes to the object store, and to the run's facts."""

from __future__ import annotations

import psycopg

from rollout.audit import evidence
from rollout.engine import ledger
from rollout.errors import Failed, Fenced, RolloutError
from rollout.road.context import Context, Facts, step


@step("seal_audit")
def seal_audit(context: Context, host: str, verify: bool = False) -> Facts:
    """Seal a database's audit trail and store its head; `verify`: then verify all of it. Nothing to do where there is none.

    A rollback goes on without it: what could not be sealed now is sealed the next time, and the journal says so. Elsewhere
    raises Failed when the trail is not what was sealed.
    """
    try:
        with ledger.connect(context.environment.database(host)) as connection:
            found = evidence.seal(connection, context.store, host, verified=verify)
    except (RolloutError, psycopg.Error) as error:
        if context.phase != "rollback" or isinstance(error, Fenced):
            raise
        reason = error.observed if isinstance(error, RolloutError) else type(error).__name__
        return {"changed": False, "unsealed": reason, "say": f"not sealed: {reason}"}
    if found is None:
        return {"changed": False, "say": "no audit trail here"}
    facts = found.to_dict()
    context.set_fact(f"audit.{host}", {**facts, **context.stamp()})
    wrong = found.verdict.wrong if found.verdict else None
    if wrong:
        raise Failed(
            f"{host}: the audit trail is not what was sealed: {wrong.says}", limit="every row as it was sealed",
            next=f"invoke audit.verify --tier {context.environment.database(host).tier}", page="runbooks/audit.md#broken",
        )  # fmt: skip
    sealed, head = found.sealed, f"{facts['block']:,} {facts['hash'][:12]}" if facts["block"] else "none yet"
    says = f"sealed {sealed.rows:,} rows; head {head}; unsealed {sealed.unsealed.rows:,}"
    return {**facts, "say": says + (f"; {found.verdict.rows:,} rows verified" if found.verdict else "")}
