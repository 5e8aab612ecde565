"""What all clients of a case share: the keys that stand, what they counted, and a way to stop them for a moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from cases import Case, q
from faces import Face
from plans import Pool
from universe import TWIN
from writes import key_of


@dataclass
class Traffic:
    """`crashed_at`: when the test last ended the server (monotonic); `failures`: what nothing explains, and should stay empty."""

    case: Case
    conninfo: str
    pool: Pool = field(default_factory=Pool)
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    crashed_at: float = float("-inf")
    quiet: threading.Condition = field(default_factory=threading.Condition)
    inside: int = 0
    full: bool = False  # the shadow's disk is: whoever writes through the sync is told so
    frozen: bool = False

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold off whoever freezes the traffic while a transaction is open."""
        with self.quiet:
            self.quiet.wait_for(lambda: not self.frozen)
            self.inside += 1
        try:
            yield
        finally:
            with self.quiet:
                self.inside -= 1
                self.quiet.notify_all()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Wait until no client is in a transaction, and keep it so."""
        with self.quiet:
            self.quiet.wait_for(lambda: not self.frozen)
            self.frozen = True
            self.quiet.wait_for(lambda: self.inside == 0)
        try:
            yield
        finally:
            with self.quiet:
                self.frozen = False
                self.quiet.notify_all()


def keys(connection: psycopg.Connection[Any], case: Case) -> Pool:
    """Return the keys that stand now, as text."""
    face = Face(f"{q(TWIN)}.{q(case.table)}", {name: q(name) for name in case.key}, TWIN)
    rows = face.run(
        connection, f"SELECT {', '.join(map(q, case.key))} FROM {face.relation} ORDER BY 1".replace("%", "%%")
    )
    return Pool([key_of(case, row) for row in rows])
