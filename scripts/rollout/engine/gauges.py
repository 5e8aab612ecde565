"""What shows that a database suffers: gauges, each read on a connection beside the copy, on Postgres 15 to 18.

A gauge gives a value for one limit or more of the environment's settings; it raises Unknown where the role may not see what
it needs, which throttles nothing and is reported.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import errors

from rollout.engine.companion import statement
from rollout.engine.ledger import Connection

MIB = 1048576.0
DEAD_ROWS_FLOOR = 10_000  # fewer dead rows than this hurt nobody, whatever their share
CHECKPOINT_WINDOW_SECONDS = 60.0
HISTORY_MAX = 2_000
NEEDS_MONITOR = "the role is no member of pg_monitor"
SEGMENT = re.compile(r"^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")


class Unknown(Exception):
    """A value that cannot be had; the message says why."""


@dataclass(frozen=True)
class Reading:
    """A value beside its limit. `pressure`: 1 is at the limit."""

    measure: str
    value: float
    limit: float
    unit: str
    detail: str = ""

    @property
    def pressure(self) -> float:
        """Return the value in limits."""
        return self.value / self.limit

    def __str__(self) -> str:
        """Return a clause such as `replica lag 12.5 s of standby_1 (limit 5 s)`."""
        of = f" of {self.detail}" if self.detail else ""
        return f"{self.measure} {self.value:.4g} {self.unit}{of} (limit {self.limit:g} {self.unit})"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return {"value": round(self.value, 2), "limit": self.limit, "unit": self.unit, "detail": self.detail}


# Setting: what it limits, in which unit.
MEASURES = {
    "throttle_probe_latency_max_ms": ("probe latency", "ms"),
    "throttle_replica_lag_max_seconds": ("replica lag", "s"),
    "throttle_replica_lag_max_mib": ("replica backlog", "MiB"),
    "throttle_slot_backlog_max_mib": ("slot backlog", "MiB"),
    "throttle_archive_backlog_max_files": ("archive backlog", "files"),
    "throttle_wal_rate_max_mib_per_second": ("WAL rate", "MiB/s"),
    "throttle_dead_rows_max_percent": ("dead rows", "%"),
    "throttle_oldest_xmin_max_transactions": ("oldest xmin", "transactions"),
    "throttle_checkpoints_requested_max_per_minute": ("requested checkpoints", "a minute"),
}
Values = dict[str, tuple[float, str]]  # by setting: the value and what it is of


class Replicas:
    """How far replicas are behind. A lag they do not report (replay stands still) is told from when WAL was written."""

    settings = ("throttle_replica_lag_max_seconds", "throttle_replica_lag_max_mib")
    every_seconds = 1.0

    def __init__(self, ignored: Sequence[str]) -> None:
        """`ignored`: replicas by application_name, such as one that is delayed on purpose."""
        self.ignored = set(ignored)
        self._written: deque[tuple[float, float]] = deque(maxlen=HISTORY_MAX)

    def read(self, connection: Connection, at: float) -> Values:
        """Return the worst replica's lag and backlog, zero without replicas."""
        rows = [r for r in connection.execute(statement("gauge_replicas")).fetchall() if r["replica"] not in self.ignored]
        if any(row["hidden"] for row in rows):
            raise Unknown(NEEDS_MONITOR)
        if rows:
            self._written.append((at, float(rows[0]["written"])))
        lags = [(self.lag(at, float(r["replayed"]), r["reported_seconds"]), str(r["replica"])) for r in rows]
        behind = [(max(0.0, float(r["written"] - r["replayed"])) / MIB, str(r["replica"])) for r in rows]
        nobody = (0.0, "")
        return dict(zip(self.settings, (max(lags, default=nobody), max(behind, default=nobody)), strict=True))

    def lag(self, at: float, replayed: float, reported_seconds: float | None) -> float:
        """Return since when the primary is past what a replica has replayed, or what it reports where that is more."""
        if not self._written or replayed >= self._written[-1][1]:
            return 0.0
        past = next(when for when, written in self._written if written > replayed)
        return max(at - past, reported_seconds or 0.0)


class Slots:
    """WAL that a replication slot keeps."""

    settings = ("throttle_slot_backlog_max_mib",)
    every_seconds = 2.0

    def read(self, connection: Connection, at: float) -> Values:
        """Return the worst slot's backlog."""
        row = connection.execute(statement("gauge_slots")).fetchone()
        return {self.settings[0]: (float(row["mib"]), str(row["slot"])) if row else (0.0, "")}


class Archiver:
    """WAL segments that wait to be archived; where they may not be counted, by what was archived last."""

    settings = ("throttle_archive_backlog_max_files",)
    every_seconds = 5.0

    def read(self, connection: Connection, at: float) -> Values:
        """Return the number of segments."""
        row = connection.execute(statement("gauge_archiver")).fetchone()
        if not row or not row["archiving"]:
            return {self.settings[0]: (0.0, "")}
        try:
            ready = connection.execute(statement("gauge_archive_ready")).fetchone()
            return {self.settings[0]: (float(ready["files"]) if ready else 0.0, "")}
        except errors.InsufficientPrivilege:
            between = segments_between(row["last_archived_wal"], row["current_wal"], int(row["segment_bytes"]))
            if between is None:
                raise Unknown(NEEDS_MONITOR) from None
            return {self.settings[0]: (float(between), "")}


def segments_between(archived: str | None, current: str, segment_bytes: int) -> int | None:
    """Return how many whole segments lie between what was archived last and what is written now, or None."""
    numbers = []
    for name in (archived or "", current):
        found = SEGMENT.match(name)
        if not found:
            return None
        numbers.append(int(found[1], 16) * (2**32 // segment_bytes) + int(found[2], 16))
    return max(0, numbers[1] - numbers[0] - 1)


class WalRate:
    """How fast WAL is written, by all."""

    settings = ("throttle_wal_rate_max_mib_per_second",)
    every_seconds = 1.0

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def read(self, connection: Connection, at: float) -> Values:
        """Return the rate since the last call; nothing at the first."""
        row = connection.execute(statement("gauge_wal")).fetchone()
        assert row is not None
        before, self._before = self._before, (at, float(row["written"]))
        if before is None or at <= before[0]:
            return {}
        return {self.settings[0]: ((self._before[1] - before[1]) / MIB / (at - before[0]), "")}


class DeadRows:
    """The share of dead rows in the tables of the change."""

    settings = ("throttle_dead_rows_max_percent",)
    every_seconds = 5.0

    def __init__(self, relations: Sequence[str]) -> None:
        """`relations`: `schema.name` of authority and shadow; their partitions count one by one."""
        self.relations = list(relations)

    def read(self, connection: Connection, at: float) -> Values:
        """Return the worst table's share."""
        values = {"relations": self.relations, "floor": DEAD_ROWS_FLOOR}
        row = connection.execute(statement("gauge_dead_rows"), values).fetchone()
        return {self.settings[0]: (float(row["percent"]), str(row["name"])) if row else (0.0, "")}


class OldestXmin:
    """For how many transactions somebody has kept dead rows from being removed."""

    settings = ("throttle_oldest_xmin_max_transactions",)
    every_seconds = 2.0

    def read(self, connection: Connection, at: float) -> Values:
        """Return the age and whose it is."""
        row = connection.execute(statement("gauge_xmin")).fetchone()
        if not row or not row["sees_all"]:
            raise Unknown(NEEDS_MONITOR)
        return {self.settings[0]: (float(row["age"]), str(row["who"]))}


class Checkpoints:
    """Checkpoints that WAL volume (or somebody) asked for in the last minute, beside those that are due."""

    settings = ("throttle_checkpoints_requested_max_per_minute",)
    every_seconds = 5.0

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def read(self, connection: Connection, at: float) -> Values:
        """Return how many there were within CHECKPOINT_WINDOW_SECONDS (at first: since the first look)."""
        name = "gauge_checkpoints" if connection.info.server_version >= 170000 else "gauge_checkpoints_before_17"
        row = connection.execute(statement(name)).fetchone()
        assert row is not None
        return {self.settings[0]: (self.recent(at, float(row["requested"])), "")}

    def recent(self, at: float, count: float) -> float:
        """Take in a count and return by how much it grew within the window."""
        self._seen.append((at, count))
        while len(self._seen) > 1 and self._seen[1][0] <= at - CHECKPOINT_WINDOW_SECONDS:
            self._seen.popleft()
        return max(0.0, count - self._seen[0][1])


Gauge = Replicas | Slots | Archiver | WalRate | DeadRows | OldestXmin | Checkpoints


def gauges(stated: Callable[[str], Any], relations: Sequence[str]) -> list[Gauge]:
    """Return the gauges that have a limit. `stated`: returns a setting or None; `relations`: the change's tables."""
    known: list[Gauge] = [
        Replicas(stated("throttle_ignored_replicas") or ()), Slots(), Archiver(), WalRate(), DeadRows(relations),
        OldestXmin(), Checkpoints(),
    ]  # fmt: skip
    return [gauge for gauge in known if any(stated(name) for name in gauge.settings)]
