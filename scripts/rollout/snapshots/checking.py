"""What a comparison of rows and definitions does not see of a restored database: whether indexes agree with their tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from rollout.environment import Database
from rollout.snapshots.contents import statement
from rollout.snapshots.records import Progress, quiet

FINDINGS_MAX = 50


def check(database: Database, progress: Progress = quiet, *, jobs: int = 2) -> list[str]:
    """Return a sentence for everything that is wrong in a restored database; the role is to be a superuser of its server.

    Every B-tree is checked against its table (amcheck, heapallindexed: each row of the table is in the index).
    """
    with _connect(database) as connection:
        said = [str(row[0]) for row in connection.execute(statement("checks"))]
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        indexes = [str(row[0]) for row in connection.execute(statement("amcheck_indexes"))]
    done = [0]

    def each(names: list[str]) -> list[str]:
        found = []
        with _connect(database) as connection:
            for name in names:
                try:
                    connection.execute("SELECT bt_index_check(%s::regclass, true)", (name,))
                except psycopg.Error as error:
                    if connection.broken:
                        raise
                    found.append(f"index {name}: {error.diag.message_primary or error}")
                done[0] += 1
                progress(f"check {database.host}", done[0], len(indexes))
        return found

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        for found in pool.map(each, [indexes[n::jobs] for n in range(jobs)]):
            said += found
    return said[:FINDINGS_MAX]


def _connect(database: Database) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(database.conninfo("rollout-check"), autocommit=True)
