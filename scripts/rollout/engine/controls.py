"""Pause and resume: a person's word in the ledger that a change's copying is to wait, which outlives every runner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rollout.engine import ledger
from rollout.engine.ledger import Connection
from rollout.errors import Refused

PAUSE = """
INSERT INTO rollout.controls (change, paused_at, paused_by, reason) VALUES (%s, clock_timestamp(), %s, %s)
ON CONFLICT (change) DO UPDATE
SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, reason = excluded.reason
WHERE rollout.controls.paused_at IS NULL
RETURNING change, paused_at, paused_by, reason
"""
PAUSED = """
SELECT change, paused_at, paused_by, reason FROM rollout.controls
WHERE paused_at IS NOT NULL AND (%(change)s::text IS NULL OR change = %(change)s) ORDER BY change
"""
RESUME = "UPDATE rollout.controls SET paused_at = NULL, paused_by = NULL, reason = NULL WHERE change = %s"


@dataclass(frozen=True)
class Pause:
    """A pause of one change's copying in one database."""

    change: str
    since: datetime
    who: str
    why: str

    def __str__(self) -> str:
        """Return a clause for a line of progress."""
        why = f": {self.why}" if self.why else ""
        return f"paused since {self.since.astimezone(UTC):%H:%M:%S} UTC by {self.who}{why}"

    def to_dict(self) -> dict[str, str]:
        """Return JSON-native values."""
        return {"change": self.change, "since": self.since.isoformat(), "who": self.who, "why": self.why}


def pause(connection: Connection, change: str, who: str, why: str) -> Pause:
    """Have a change's copying wait from its next chunk on; return the pause that holds, which may be an earlier one.

    It needs no fence: to wait is always safe. Raises Refused when this database has no ledger.
    """
    _must_have_ledger(connection)
    with connection.transaction():
        row = connection.execute(PAUSE, (change, who, why)).fetchone()
        if row:
            _note(connection, change, "paused", who=who, why=why)
            return _pause(row)
        standing = paused(connection, change)
        assert standing is not None  # it was not ours to change, and its row is locked
        return standing


def resume(connection: Connection, change: str, who: str = "") -> Pause | None:
    """Let a change's copying go on; return the pause that ends, or None. Raises Refused without a ledger."""
    _must_have_ledger(connection)
    with connection.transaction():
        connection.execute("SELECT FROM rollout.controls WHERE change = %s FOR UPDATE", (change,))
        was = paused(connection, change)
        if was:
            connection.execute(RESUME, (change,))
            _note(connection, change, "resumed", who=who, was=was.to_dict())
    return was


def paused(connection: Connection, change: str) -> Pause | None:
    """Return the pause of a change here, or None."""
    row = connection.execute(PAUSED, {"change": change}).fetchone()
    return _pause(row) if row else None


def all_paused(connection: Connection) -> list[Pause]:
    """Return every pause that holds in this database; none where there is no ledger."""
    if not _has_ledger(connection):
        return []
    return [_pause(row) for row in connection.execute(PAUSED, {"change": None}).fetchall()]


def begin(connection: Connection, change: str) -> None:
    """Make a change's row, which the latency probe locks to have a commit of its own."""
    connection.execute("INSERT INTO rollout.controls (change) VALUES (%s) ON CONFLICT DO NOTHING", (change,))


def _pause(row: dict[str, Any]) -> Pause:
    return Pause(row["change"], row["paused_at"], row["paused_by"], row["reason"] or "")


def _has_ledger(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('rollout.controls') IS NOT NULL AS found").fetchone()
    return bool(row and row["found"])


def _must_have_ledger(connection: Connection) -> None:
    if not _has_ledger(connection):
        raise Refused("this database has no ledger (or an older one): nothing is copied here",
                      next="invoke status")  # fmt: skip


def _note(connection: Connection, change: str, event: str, **facts: Any) -> None:
    """Append an event under whatever run holds the fence: a pause is nobody's step, but part of the history."""
    row = connection.execute("SELECT run, token FROM rollout.fence").fetchone()
    if row:
        ledger.record(connection, ledger.Fence(row["run"], row["token"]), change, event, **facts)
