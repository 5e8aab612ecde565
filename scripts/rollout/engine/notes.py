"""The notes of keys written since a comparison: armed before it, read until few are left, and ended by the swap."""

from __future__ import annotations

from rollout.engine import ledger
from rollout.engine.ledger import Connection, Fence
from rollout.engine.locks import Stalls, with_locks
from rollout.engine.rewrite.statements import Statements
from rollout.environment import Settings

SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"


def arm(connection: Connection, statements: Statements, fence: Fence, settings: Settings, *, armed: bool) -> Stalls:
    """Begin the notes anew, or end them, under a lock that only writers wait for; return what that cost."""
    stalls = Stalls()

    def work() -> None:
        ledger.check(connection, fence)
        connection.execute("DELETE FROM rollout.dirty WHERE change = %s", (statements.shape.change,))
        connection.execute(";\n".join(statements.note(armed=armed)).encode())

    with_locks(connection, statements.authorities(), SHARE_ROW_EXCLUSIVE, settings, stalls, work)
    return stalls
