"""The notes of keys written since a comparison: armed before it, read until few are left, and ended by the swap."""

from __future__ import annotations

from rollout.engine import ledger
from rollout.engine.ledger import Connection, Fence
from rollout.engine.locks import Stalls, with_locks
from rollout.engine.rewrite.statements import Statements
from rollout.environment import Settings

ACCESS_EXCLUSIVE, SHARE_ROW_EXCLUSIVE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"


def arm(connection: Connection, statements: Statements, fence: Fence, settings: Settings, *, armed: bool) -> Stalls:
    """Begin the notes anew, or end them, under a lock that only writers wait for (at their end: everybody). Return its cost."""
    stalls = Stalls()

    def work() -> None:
        ledger.check(connection, fence)
        connection.execute("DELETE FROM rollout.dirty WHERE change = %s", (statements.shape.change,))
        connection.execute(";\n".join(statements.note(armed=armed)).encode())

    mode = SHARE_ROW_EXCLUSIVE if armed else ACCESS_EXCLUSIVE  # what CREATE and DROP TRIGGER take
    with_locks(connection, statements.authorities(), mode, settings, stalls, work)
    return stalls
