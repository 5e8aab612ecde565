"""The load's journal of writes: one JSON object a line, so that each acknowledged write can be looked up later.

Every line has `n` (order), `kind`, `phase` and what is to be found. Phases: `intent` (written before an update is sent:
it may or may not have happened), `ack` (the service said yes: it must be there), `missed` (no answer or a refusal:
it may be there).
Kinds: campaign, message, status, job, worked, analytics.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "journal.jsonl"


class Journal:
    """Appends lines; each reaches the kernel at once, and the disk at `sync`."""

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / NAME).open("a", buffering=1)
        self._n = 0
        self.acknowledged = 0

    def write(self, kind: str, phase: str, **values: Any) -> None:
        """Append a line. OSError (a full disk) is the caller's end: a load whose writes are not recorded proves
        nothing.
        """
        self._n += 1
        self.acknowledged += phase == "ack"
        self._stream.write(json.dumps({"n": self._n, "kind": kind, "phase": phase, **values}) + "\n")

    def sync(self) -> None:
        """Make what was written so far survive the machine."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._stream.close()


class Unwritten(Journal):
    """Takes note of nothing: the journal of a load whose writes nobody looks up later."""

    def __init__(self) -> None:
        self.acknowledged = 0

    def write(self, kind: str, phase: str, **values: Any) -> None:
        """Count what was acknowledged."""
        self.acknowledged += phase == "ack"


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a journal's lines; a last line that a kill cut off is left out, since nobody was told that it happened."""
    with (folder / NAME).open() as stream:
        for line in stream:
            if line.endswith("\n"):
                yield json.loads(line)
