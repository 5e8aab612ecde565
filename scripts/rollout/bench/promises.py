"""What clients were promised: the last acknowledged revision of each key, which is looked up at the end, each one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import psycopg

from rollout.bench.data import statement

PICK_ATTEMPTS = 1000
RECENT_SHARE = 0.25
SEEDED_REVISION = 0


@dataclass
class Promises:
    """The journal in memory. Nothing is asked about a key twice at once, so what must be there is never in doubt.

    A write that failed may or may not have happened: its key is not used again and not looked up.
    """

    seeded: int
    chance: random.Random
    revisions: dict[int, int | None] = field(default_factory=dict)
    inserted: list[int] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    doubtful_inserts: int = 0
    twice: int = 0

    def pick(self) -> int:
        """Return a key that must be there and that no statement is about now."""
        for _ in range(PICK_ATTEMPTS):
            recent = self.inserted and self.chance.random() < RECENT_SHARE
            key = self.chance.choice(self.inserted) if recent else self.chance.randint(1, self.seeded)
            if key not in self.busy and key not in self.doubtful and self.revision(key) is not None:
                return key
        raise RuntimeError("no key left to work on: more rows, or a lower rate")

    def revision(self, key: int) -> int | None:
        """Return the revision that a key must have, None when it was deleted."""
        return self.revisions.get(key, SEEDED_REVISION)

    def insert(self, key: int, revision: int) -> None:
        """Take note of an acknowledged insert; a key given out before is a row that somebody else's row replaced."""
        self.twice += key in self.revisions
        self.revisions[key] = revision
        self.inserted.append(key)

    def doubt(self, key: int | None) -> None:
        """Take note of a write that failed (None: of an insert)."""
        if key is None:
            self.doubtful_inserts += 1
        else:
            self.doubtful.add(key)

    def lost(self, connection: psycopg.Connection[Any]) -> dict[str, int]:
        """Look every promise up; return the acknowledged writes that are not there, and rows that are too many or too few."""
        connection.execute("CREATE TEMPORARY TABLE promised (id bigint PRIMARY KEY, revision bigint)")
        with connection.cursor().copy("COPY promised (id, revision) FROM STDIN") as copy:
            for key, revision in self.revisions.items():
                if key not in self.doubtful:
                    copy.write_row((key, revision))
        connection.execute("ANALYZE promised")
        missing = connection.execute(statement("lost")).fetchone()
        found = connection.execute("SELECT count(*) FROM orders").fetchone()
        assert missing is not None and found is not None  # noqa: PT018  (each statement returns one row)
        expected = self.seeded + len(set(self.inserted)) - sum(r is None for r in self.revisions.values())
        doubt = len(self.doubtful) + self.doubtful_inserts
        return {
            "lost_writes": int(missing[0]) + self.twice,
            "rows_unaccounted": 0 if doubt else abs(int(found[0]) - expected),
            "writes_in_doubt": doubt,
        }
