"""Who is in the way of a strong lock, by kind, and what to do about each kind.

Looking costs nobody anything; asking makes clients wait. So we look first, and ask once the way is clear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from rollout.engine.companion import statement
from rollout.engine.ledger import Connection

Kind = Literal[
    "long reader", "long writer", "idle in transaction", "autovacuum", "wraparound autovacuum", "other DDL",
    "prepared transaction", "our own earlier session",
]  # fmt: skip
MODES = ("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE",
         "EXCLUSIVE", "ACCESS EXCLUSIVE")  # fmt: skip
STRONG = MODES.index("SHARE UPDATE EXCLUSIVE") + 1  # from here on no everyday statement of a client, but maintenance or DDL
# The weakest mode that each mode waits for; whatever is stronger is waited for too, only SHARE lets SHARE pass.
CONFLICTS_FROM = {
    "ACCESS SHARE": "ACCESS EXCLUSIVE", "ROW SHARE": "EXCLUSIVE", "ROW EXCLUSIVE": "SHARE",
    "SHARE UPDATE EXCLUSIVE": "SHARE UPDATE EXCLUSIVE", "SHARE": "ROW EXCLUSIVE", "SHARE ROW EXCLUSIVE": "ROW EXCLUSIVE",
    "EXCLUSIVE": "ROW SHARE", "ACCESS EXCLUSIVE": "ACCESS SHARE",
}  # fmt: skip
# DDL is no client's everyday work: it is waited out from this age on, even where clients' transactions may last longer.
DDL_SECONDS = 1.0
NAMED_MAX = 5
ENDABLE: tuple[Kind, ...] = ("idle in transaction", "long reader")
ADVICE: dict[Kind, str] = {
    "long reader": "wait for its query to end, or end it: SELECT pg_cancel_backend({pid})",
    "long writer": "wait for it to commit; ending it takes its work back",
    "idle in transaction": "have its client commit or roll back, or end it: SELECT pg_terminate_backend({pid})",
    "autovacuum": "wait for it; it yields only to who waits longer than deadlock_timeout, which the stall budget does not"
                  " allow (GRANT SET ON PARAMETER deadlock_timeout TO the runner's role makes it yield within the budget)",
    "wraparound autovacuum": "come back later: it never yields, and ending it only makes it begin anew",
    "other DDL": "let it end, or ask who runs it",
    "prepared transaction": "have its transaction manager decide, or decide yourself: COMMIT (or ROLLBACK) PREPARED '{gid}'",
    "our own earlier session": "let it end (a killed runner's statement goes on in the server), or end the other command",
}  # fmt: skip


@dataclass(frozen=True)
class Blocker:
    """One session, or prepared transaction, that holds a lock in our way (or asked for it before us).

    `seconds`: age of its transaction; `pid` is None for a prepared transaction, which `gid` names; `waits_for`: the pids that
    it waits for itself.
    """

    kind: Kind
    pid: int | None
    gid: str | None
    role: str
    application: str
    state: str
    seconds: float
    query: str
    waits_for: tuple[int, ...] = ()
    progress: str = ""
    backend_start: str = ""
    xact_start: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Return what tells this transaction from any other."""
        return (self.gid or str(self.pid), self.xact_start)

    def __str__(self) -> str:
        """Return one sentence: who, what kind, how long, and what to do."""
        who = f"prepared transaction {self.gid!r}" if self.pid is None else f"pid {self.pid}"
        behind = f", itself waiting for pid {', '.join(map(str, self.waits_for))}" if self.waits_for else ""
        about = ", ".join(part for part in (self.role, self.application, self.state, f"{self.seconds:g} s") if part)
        query = f": {self.query}" if self.query else ""
        progress = f" [{self.progress}]" if self.progress else ""
        advice = ADVICE[self.kind].format(pid=self.pid, gid=self.gid)
        return f"{who} ({about}; {self.kind}{behind}){query}{progress}; {advice}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values for the journal; seconds as in `seconds`."""
        return {
            "kind": self.kind, "pid": self.pid, "gid": self.gid, "role": self.role, "application": self.application,
            "state": self.state, "seconds": self.seconds, "query": self.query, "waits_for": list(self.waits_for),
            "progress": self.progress,
        }  # fmt: skip


def conflicting(mode: str) -> list[str]:
    """Return the lock modes, as pg_locks spells them, that a request in `mode` (as LOCK TABLE spells it) waits for."""
    found = MODES[MODES.index(CONFLICTS_FROM[mode]) :]
    return [m.title().replace(" ", "") + "Lock" for m in found if not m == mode == "SHARE"]


def find(connection: Connection, oids: Sequence[int], mode: str, seconds: float) -> list[Blocker]:
    """Return who is in the way of `mode` on the relations and not about to leave, the oldest first.

    `seconds`: how old a client's transaction may be without counting; 0 names everybody.
    """
    values = {"relations": list(oids), "modes": conflicting(mode)}
    rows = connection.execute(statement("blockers"), values).fetchall()
    return [blocker(row) for row in rows if row["there"] and stays(row, seconds)]


def blocker(row: Mapping[str, Any]) -> Blocker:
    """Build a blocker from a row of blockers.sql."""
    progress = f"{row['phase']}, {row['scanned_percent'] or 0} % scanned" if row["phase"] else ""
    return Blocker(
        kind=kind(row), pid=row["pid"], gid=row["gid"], role=row["role"] or str(row["backend_type"] or ""),
        application=row["application"], state=row["state"], seconds=float(row["seconds"] or 0.0), query=row["query"],
        waits_for=tuple(row["waits_for"]), progress=progress,
        backend_start=str(row["backend_start"]), xact_start=str(row["xact_start"]),
    )  # fmt: skip


def kind(row: Mapping[str, Any]) -> Kind:
    """Tell what a row of blockers.sql is."""
    if row["pid"] is None:
        return "prepared transaction"
    if row["backend_type"] == "autovacuum worker":
        return "wraparound autovacuum" if "to prevent wraparound" in row["query"] else "autovacuum"
    if row["own"]:
        return "our own earlier session"
    if row["state"].startswith("idle in transaction"):
        return "idle in transaction"
    if row["strength"] >= STRONG:
        return "other DDL"
    return "long writer" if row["wrote"] else "long reader"


def stays(row: Mapping[str, Any], seconds: float) -> bool:
    """Tell whether a row of blockers.sql is worth waiting for: maintenance and our own always, clients from an age on."""
    age = float(row["seconds"] or 0.0)
    found = kind(row)
    if found in ("autovacuum", "wraparound autovacuum", "our own earlier session"):
        return True
    return age >= (min(seconds, DDL_SECONDS) if found == "other DDL" else seconds)


def end(connection: Connection, found: Sequence[Blocker]) -> list[dict[str, Any]]:
    """End those sessions that may be ended (ENDABLE) and are still in the same transaction; return what became of each."""
    told = []
    for one in found:
        if one.kind not in ENDABLE or one.pid is None:
            continue
        values = {"pid": one.pid, "backend_start": one.backend_start, "xact_start": one.xact_start}
        try:
            row = connection.execute(statement("terminate"), values).fetchone()
            outcome = "ended" if row and row["ended"] else "it had moved on"
        except psycopg.errors.InsufficientPrivilege:
            outcome = "not permitted"
        told.append(one.to_dict() | {"outcome": outcome})
    return told


def named(found: Sequence[Blocker]) -> str:
    """Return the first NAMED_MAX blockers as sentences, and how many more there are."""
    more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return "; ".join(map(str, found[:NAMED_MAX])) + more
