"""What is kept of base backups and of the archived log, and under which keys.

recovery/<host>/<system identifier>/bases/<time>.tar.zst, .json     a base backup; it exists once its record does
recovery/<host>/<system identifier>/log/<file>-<sha256>.zst         a segment or timeline history; its sum, unpacked, in its name
recovery/<host>/<system identifier>/covered.json                    until which moment the log is there, gaps apart
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from rollout.snapshots.records import StoredObject

ROOT = "recovery"
LOG_FILE = re.compile(r"(?P<file>[0-9A-F]{24}|[0-9A-F]{8}\.history)-(?P<sha256>[0-9a-f]{64})\.zst(?:\.age)?$")
LSN = re.compile(r"^([0-9A-F]{1,8})/([0-9A-F]{1,8})$")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(_Record):
    """A base backup: a whole server as of `end_lsn`, once the log from `start_lsn` on has been replayed.

    `superuser`: the bootstrap superuser's name, as which a recovered server is entered. `tar`: with pg_basebackup's own manifest.
    """

    format: Literal[1] = 1
    host: str
    tier: str
    system_identifier: str
    server_version: str
    server_major: int
    segment_bytes: int
    superuser: str
    timeline: int
    start_lsn: str
    end_lsn: str
    database_bytes: int
    tar: StoredObject
    client_version: str
    who: str
    started_at: AwareDatetime
    finished_at: AwareDatetime

    @property
    def id(self) -> str:
        """Return the name of the base backup."""
        return name_of(self.started_at)


class Covered(_Record):
    """Until which moment, and which place in which file of the log, everything that was committed is in the store."""

    until: AwareDatetime
    lsn: str
    file: str
    slot: str


class LogFile(_Record):
    """A file of the archived log: its name as Postgres has it, the object, and the SHA-256 of the file itself, unpacked."""

    file: str
    key: str
    sha256: str

    @property
    def timeline(self) -> int:
        """Return the timeline it belongs to."""
        return int(self.file[:8], 16)

    @property
    def is_history(self) -> bool:
        """Say whether it is a timeline's history and no segment."""
        return self.file.endswith(".history")


def place(host: str, system_identifier: str) -> str:
    """Return the prefix of a server's objects."""
    return f"{ROOT}/{host}/{system_identifier}/"


def name_of(moment: datetime) -> str:
    """Return the name of a base backup that began at a moment."""
    return f"{moment:%Y-%m-%dT%H-%M-%S.%fZ}"


def log_file(key: str) -> LogFile | None:
    """Return what a key of the log holds; None for a key of another form."""
    found = LOG_FILE.search(key)
    return LogFile(file=found["file"], key=key, sha256=found["sha256"]) if found else None


def number(lsn: str) -> int:
    """Return a log position as a number of bytes; raise ValueError for what is none."""
    found = LSN.match(lsn)
    if not found:
        raise ValueError(f"{lsn!r} is no log position")
    return (int(found[1], 16) << 32) | int(found[2], 16)


def segment(lsn: str, timeline: int, segment_bytes: int) -> str:
    """Return the name of the segment that holds a position."""
    of = number(lsn) // segment_bytes
    per = 2**32 // segment_bytes
    return f"{timeline:08X}{of // per:08X}{of % per:08X}"


def ordinal(file: str, segment_bytes: int) -> int:
    """Return the number of a segment within all of the log, whatever its timeline."""
    return int(file[8:16], 16) * (2**32 // segment_bytes) + int(file[16:24], 16)
