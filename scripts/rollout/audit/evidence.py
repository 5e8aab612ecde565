"""The audit trail of one database, sealed, its head stored, and verified: what the road and the commands do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout.audit import heads, log, partitions, sealing, verification
from rollout.audit.sealing import Seal
from rollout.audit.verification import Verdict
from rollout.engine.ledger import Connection
from rollout.objectstore import ObjectStore


@dataclass(frozen=True)
class Evidence:
    """What was sealed, under which key its head is, the partitions made, and the verdict if one was asked for."""

    sealed: Seal
    head: str
    made: list[str]
    verdict: Verdict | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        last = self.sealed.last
        return {
            "log": str(self.sealed.log), "rows": self.sealed.rows, "blocks": self.sealed.blocks,
            "block": last.number if last else 0, "hash": last.hash.hex() if last else "", "head": self.head,
            "unsealed": self.sealed.unsealed._asdict(), "seconds": self.sealed.seconds, "partitions": self.made,
            "verdict": self.verdict.to_dict() if self.verdict else None,
        }  # fmt: skip


def seal(connection: Connection, store: ObjectStore, host: str, *, verified: bool = False) -> Evidence | None:
    """Make the next partitions, seal what can be, store the head; None where there is no audit trail.

    `verified`: then verify the whole log.
    """
    if not log.there(connection):
        return None
    made = partitions.make(connection)
    sealed = sealing.seal(connection)
    key = heads.put(store, host, sealed.log, sealed.last) if sealed.last else ""
    return Evidence(sealed, key, made, verify(connection, store, host) if verified else None)


def verify(connection: Connection, store: ObjectStore, host: str) -> Verdict | None:
    """Return the verdict on a database's log; None where there is no audit trail and the store has no head of one."""
    known = heads.of(store, host)
    if not log.there(connection):
        return verification.gone(known) if known else None
    return verification.verify(connection, known)
