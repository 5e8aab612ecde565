"""The sealer: it chains every row whose transaction has ended. One at a time; whoever comes second goes on behind the first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from rollout.audit import log
from rollout.audit.chain import BLOCK_ROWS_MAX, LAST_ID, START, Block, Place, follow
from rollout.audit.log import Tail
from rollout.engine.ledger import Connection
from rollout.errors import Failed

ROWS_MAX = 50_000  # in one transaction, whose snapshot keeps vacuum from the product's tables
HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin"
INSERT = """
INSERT INTO audit.blocks (number, until_xact, until_id, leaves, prev, hash, sealed_at) VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True)
class Seal:
    """What a sealer did: rows and blocks, the newest block of the log (None: it has none), and what is left unsealed."""

    log: UUID
    rows: int
    blocks: int
    last: Block | None
    unsealed: Tail
    seconds: float


def seal(connection: Connection) -> Seal:
    """Seal all rows whose transactions have ended; raise Failed when the newest block is not what it says.

    The horizon is taken in a statement of its own, before the rows are read: see `chain` for why nothing can be missed.
    """
    started, rows, made = time.monotonic(), 0, 0
    while True:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('audit.seal'))")
            sealed, blocks = _some(connection)
        rows, made = rows + sealed, made + blocks
        if sealed < ROWS_MAX:
            break
    identity, _ = log.identity(connection)
    return Seal(identity, rows, made, log.last_block(connection), log.tail(connection), round(time.monotonic() - started, 3))


def _some(connection: Connection) -> tuple[int, int]:
    """Seal at most ROWS_MAX rows in the caller's transaction; return how many, in how many blocks."""
    identity, shift = log.identity(connection)
    last = log.last_block(connection)
    if last and last.recomputed() != last.hash:
        raise Failed(f"block {last.number} of the audit trail was edited: nothing may follow from it",
                     next="invoke audit.verify", page="runbooks/audit.md#broken")  # fmt: skip
    after = last.until if last else START
    row = connection.execute(HORIZON).fetchone()
    assert row is not None
    end = Place(int(row["xmin"]) + shift - 1, LAST_ID)
    if end <= after:
        return 0, 0
    rows = made = 0
    found = log.leaves(connection, after, end, ROWS_MAX)
    block = list(islice(found, BLOCK_ROWS_MAX))
    while block:
        following = list(islice(found, BLOCK_ROWS_MAX))
        rows, made = rows + len(block), made + 1
        # The last one reaches to the horizon, and not only to its last row.
        until = end if not following and rows < ROWS_MAX else block[-1].place
        last = follow(identity, last, until, [row.leaf for row in block], datetime.now(UTC))
        connection.execute(INSERT, (last.number, *last.until, last.leaves, last.prev, last.hash, last.sealed_at))
        block = following
    return rows, made
