"""The balancer's log: one JSON object a request, read for a window of time without reading the whole file.

HAProxy writes a line when a request ends, so the file is in the order of the ends (t + Ta): that is what the search
goes by, and `SLACK_MS` covers threads that finish at the same moment. Lines that are not JSON objects (servers going
up and down) stand between them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rollout.errors import Failed

SLACK_MS = 1_000
LONGEST_MS = 120_000  # requests that take longer are not looked for past the end of a window
SEARCH_STOPS_AT = 64 * 1024
LINE_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. Times in milliseconds, -1 where the request did not get that far; `t` is when it began (epoch).

    `total_ms` is from the request's first byte to the answer's last; queue, connect and response are its parts.
    """

    t: int
    server: str
    status: int
    method: str
    path: str
    total_ms: int
    response_ms: int
    queue_ms: int
    connect_ms: int
    retries: int
    termination: str

    @property
    def failed(self) -> bool:
        """Whether the server's side failed it: a 5xx, an abnormal end, or a client that gave up waiting."""
        if self.status >= 500 or self.status < 0:
            return True
        cause, state = self.termination[:1], self.termination[1:2]
        return cause in "SsPRIDUK" if cause not in "Cc-" else cause in "Cc" and state in ("Q", "C", "H")


def read(path: str, since: float, until: float) -> Iterator[Entry]:
    """Yield the requests that began in [since, until) (epoch seconds), from rotated files (`path.1`, ...) too.

    Memory is one line. Raises Failed on a damaged line, because a log that cannot be read in full must not count as a
    clean one, and FileNotFoundError without a log. An unfinished last line is left for the next reading.
    """
    first, last = int(since * 1000), int(until * 1000)
    for part in _parts(Path(path), first):
        with part.open("rb") as file:
            file.seek(_start(file, first - SLACK_MS))
            for line in file:
                entry = parse(line)
                if entry is None:
                    continue
                if entry.t + max(entry.total_ms, 0) > last + LONGEST_MS:
                    break
                if first <= entry.t < last:
                    yield entry


def parse(line: bytes) -> Entry | None:
    """Read one line; None for an unfinished one or one not about a request. Raises Failed on a damaged one."""
    if not line.endswith(b"\n") or not line.startswith(b"{"):
        return None
    try:
        row = json.loads(line)
        return Entry(
            # on a kept connection the accept date is the end of the previous answer: Ti is the idle time since then
            t=int(row["t"]) + max(int(row.get("Ti", 0)), 0),
            server=str(row["server"]),
            status=int(row["status"]),
            method=str(row["method"]),
            path=str(row["path"]),
            total_ms=int(row["Ta"]),
            response_ms=int(row["Tr"]),
            queue_ms=int(row["Tw"]),
            connect_ms=int(row["Tc"]),
            retries=int(str(row["retries"]).lstrip("+")),
            termination=str(row["termination"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            f"the balancer's log has a damaged line: {line[:120]!r} ({type(error).__name__})",
            next="compare the load balancer's log-format with the one in runbooks/gates/error_rate.md",
            page="runbooks/gates/error_rate.md",
        ) from error


def _parts(path: Path, first_ms: int) -> list[Path]:
    """Return the log and as many rotated ones as reach into the window, oldest first."""
    parts = [path]
    if not path.exists():
        raise FileNotFoundError(path)
    number = 1
    while _first_end(parts[0]) > first_ms - SLACK_MS:
        rotated = path.with_name(f"{path.name}.{number}")
        if not rotated.exists():
            break
        parts.insert(0, rotated)
        number += 1
    return parts


def _first_end(path: Path) -> float:
    with path.open("rb") as file:
        end = _end_at(file, 0)
    return float("inf") if end is None else end


def _start(file: BinaryIO, end_ms: int) -> int:
    """Return an offset of a line's beginning before the first request that ended at `end_ms` or later."""
    low, high = 0, os.fstat(file.fileno()).st_size
    while high - low > SEARCH_STOPS_AT:
        middle = (low + high) // 2
        end = _end_at(file, middle)
        if end is None or end >= end_ms:
            high = middle
        else:
            low = middle
    if low == 0:
        return 0
    file.seek(low)
    file.readline(LINE_MAX)
    return file.tell()


def _end_at(file: BinaryIO, offset: int) -> int | None:
    """Return when the first whole request line after `offset` ended (epoch ms); None when there is none."""
    file.seek(offset)
    if offset:
        file.readline(LINE_MAX)
    while line := file.readline(LINE_MAX):
        entry = parse(line)
        if entry is not None:
            return entry.t + max(entry.total_ms, 0)
    return None
