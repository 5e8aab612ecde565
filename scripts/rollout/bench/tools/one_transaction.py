"""The rewrite in one transaction, as the seed sketches it: with the locks as they come, or with the table locked first."""

from __future__ import annotations

import time

from rollout.bench.data import statement
from rollout.bench.server import OWNER
from rollout.bench.subject import Measured, Subject


def unlocked(subject: Subject) -> Measured:
    """Take locks as they come: what clients write while the copy runs stays in the old table."""
    return _rewrite(subject, lock=False)


def locked(subject: Subject) -> Measured:
    """Lock the table first, which is what it takes to lose nothing in this way."""
    return _rewrite(subject, lock=True)


def _rewrite(subject: Subject, *, lock: bool) -> Measured:
    with subject.step("transaction"), subject.server.connect(subject.dbname, OWNER) as connection:
        began = time.monotonic()
        with connection.transaction():
            if lock:
                connection.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
                held_from = time.monotonic()
            connection.execute(statement("one_transaction_create"))
            copy_began = time.monotonic()
            copied = connection.execute("INSERT INTO orders_new SELECT * FROM orders").rowcount
            copy_seconds = time.monotonic() - copy_began
            connection.execute("ALTER TABLE orders RENAME TO orders_old")
            if not lock:
                held_from = time.monotonic()
            connection.execute(statement("one_transaction_rename"))
        ended = time.monotonic()
    return Measured(
        rows_per_s=copied / copy_seconds,
        filled="all",
        swap_ms=(ended - held_from) * 1000,
        facts={"copy_seconds": round(copy_seconds, 3), "total_seconds": round(ended - began, 3)},
    )
