"""The files of a log on their way into a recovering server: fetched ahead and verified by us, taken by its restore_command.

The command is a few lines of shell, because it runs once a segment: it waits until a file that is to come is there, says no to
those that never will, and stops the recovery when we could not fetch one. An early end must never look like the end of the log.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
from pathlib import Path
from typing import Self

import zstandard

from rollout import sealed
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.recovery.records import LogFile
from rollout.sandbox.account import Account

AHEAD = 8  # files that may wait to be taken
BEHIND = 4  # that are kept when taken: at its end a recovery asks again for the file in which it stopped, which may be older
POLL_SECONDS = 0.02
SCRIPT = """#!/bin/sh
# $1: the file that is wanted, $2: where to put it, from the data directory. 200 stops the recovery; 1 would be the log's end.
# A file that was there and is no more is asked for again.
spool={folder}
grep -qx "$1" "$spool/coming" || exit 1
while :; do
    if [ -f "$spool/$1" ]; then
        cp "$spool/$1" "$2.part" 2>/dev/null && break
        [ -f "$spool/$1" ] && exit 200
    fi
    [ -f "$spool/failed" ] && exit 200
    [ -f "$spool/$1.taken" ] && touch "$spool/$1.wanted"
    sleep 0.02
done
mv "$2.part" "$2" && touch "$spool/$1.taken" || exit 200
"""


class Spool:
    """Fetches files into a folder, a few ahead of whoever takes them; as a context manager, from a thread."""

    def __init__(self, store: ObjectStore, files: list[LogFile], folder: Path, account: Account | None) -> None:
        """`files` in the order in which they are wanted; `account`: whose server takes them."""
        self._store, self._files, self.folder, self._account = store, files, folder, account
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._again: set[str] = set()
        self.error: Exception | None = None
        self.fetched_bytes = 0

    @property
    def command(self) -> str:
        """Return the server's restore_command."""
        return f"/bin/sh {shlex.quote(str(self.folder / 'restore'))} %f %p"

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o700)
        (self.folder / "restore").write_text(SCRIPT.format(folder=shlex.quote(str(self.folder))))
        (self.folder / "coming").write_text("".join(f"{one.file}\n" for one in self._files))
        if self._account is not None:
            for path in (self.folder, self.folder / "restore", self.folder / "coming"):
                self._account.own(path)
        self._thread.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what went wrong on the way."""
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            number = 0
            while not self._stop.is_set():
                for one in self._files[:number]:
                    if (self.folder / f"{one.file}.wanted").exists():
                        self._again.add(one.file)
                        self._fetch(one)
                        (self.folder / f"{one.file}.wanted").unlink()
                if number < len(self._files) and self._has_room(number):
                    self._fetch(self._files[number])
                    number += 1
                else:
                    self._stop.wait(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001  told to whoever waits for the server
            self.error = error
            (self.folder / "failed").touch()

    def _fetch(self, one: LogFile) -> None:
        try:
            body = sealed.open_bytes(one.key, self._store.read(one.key)[0], self._store.config.identity_file)
            raw = zstandard.ZstdDecompressor().decompress(body)
        except zstandard.ZstdError:
            raw = b""
        if hashlib.sha256(raw).hexdigest() != one.sha256:
            raise Failed(
                f"{one.key} is not what was archived",
                limit=f"SHA-256 {one.sha256} once unpacked",
                next="keep it for the inquiry; moments before that file can still be restored",
                page="runbooks/object-store.md",
            )
        part = self.folder / f"{one.file}.part"
        part.write_bytes(raw)
        if self._account is not None:
            self._account.own(part)
        part.rename(self.folder / one.file)
        self.fetched_bytes += len(raw)

    def _has_room(self, number: int) -> bool:
        """Tell whether few enough are untaken, after removing those that were taken a while ago."""
        taken = [n for n in range(number) if (self.folder / f"{self._files[n].file}.taken").exists()]
        newest = max(taken, default=-1)
        for n in taken:
            if n < newest - BEHIND and self._files[n].file not in self._again:
                (self.folder / self._files[n].file).unlink(missing_ok=True)
        return sum(1 for n in range(newest + 1, number) if not self._files[n].is_history) < AHEAD
