"""Progress for the screen: lines in a local file that workers write and the command reads. Evidence is elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

POLL_SECONDS = 0.1
READ_BYTES = 64 * 1024
LINE_BYTES_MAX = 8 * 1024
TEXT_LENGTH_MAX = 1_000


class Progress:
    """The writing end of `<artifacts>/<run>/progress.jsonl`; any number of processes may hold one."""

    def __init__(self, path: Path | str) -> None:
        """Remember the path; the file appears with the first line."""
        self.path = Path(path)

    def say(
        self,
        *,
        step: str,
        host: str = "",
        text: str = "",
        done: int | None = None,
        total: int | None = None,
        rate: float | None = None,
        eta_seconds: float | None = None,
    ) -> None:
        """Write one line. `done` and `total` count the same unit, `rate` is that unit a second. Never raises OSError:
        a display that cannot be written stops no work."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "step": step[:TEXT_LENGTH_MAX],
            "host": host[:TEXT_LENGTH_MAX],
            "text": text[:TEXT_LENGTH_MAX],
            "done": done,
            "total": total,
            "rate": rate,
            "eta_seconds": eta_seconds,
        }
        data = json.dumps(line).encode() + b"\n"
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write under O_APPEND: lines of several processes do not tear each other.
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, data)
            finally:
                os.close(handle)


def follow(path: Path | str, stopped: Callable[[], bool], *, from_start: bool = True) -> Iterator[dict[str, JsonValue]]:
    """Yield the lines of a progress file as they come, until `stopped()` is true and all that was written is read.

    `stopped` may be `threading.Event().is_set`. Waits for the file to appear; skips lines that are no JSON object.
    `from_start=False` begins with what is written after the call.
    """
    path, rest = Path(path), b""
    position = 0 if from_start or not path.exists() else path.stat().st_size
    while True:
        # Asked before reading: what was written before the stop is then still read.
        last = stopped()
        while block := _read(path, position):
            position += len(block)
            *lines, rest = (rest + block).split(b"\n")
            rest = rest if len(rest) <= LINE_BYTES_MAX else b""
            for line in lines:
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield found
        if last:
            return
        time.sleep(POLL_SECONDS)


def _read(path: Path, position: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            stream.seek(position)
            return stream.read(READ_BYTES)
    except FileNotFoundError:
        return b""
