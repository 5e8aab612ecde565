"""How a database's dump is divided into streams, and a stream on its way to the store: pg_dump, zstd, multipart upload.

Nothing lands on the runner's disk. Each stream is a whole archive in pg_dump's custom format, so that pg_restore alone reads it,
and all are taken in one exported transaction snapshot.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Self

import zstandard

from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients
from rollout.snapshots.records import DumpPart

DIVIDED_ABOVE_BYTES = 64 * 2**20  # a smaller database is one stream: starting pg_dump costs more than it would gain
LEVEL = 1
COMPRESSION = f"zstd:{LEVEL}"
LOCK_WAIT_MS = 5000
BLOCK_BYTES = 1 << 20


@dataclass
class Part:
    """One stream: which section, and of a data stream the tables that it holds alone (none: what no other one holds)."""

    name: str
    section: Literal["all", "schema", "data"]
    tables: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    bytes: int = 0

    def options(self) -> list[str]:
        """Return what pg_dump is told to dump."""
        if self.section == "all":
            return []
        if self.section == "schema":
            return ["--section=pre-data", "--section=post-data"]
        chosen = [f"--table={name}" for name in self.tables] + [f"--exclude-table={name}" for name in self.excluded]
        return ["--section=data", *chosen]


def divide(tables: list[tuple[str, str, int]], jobs: int) -> list[Part]:
    """Return the streams of a database whose tables are (schema, name, bytes): one, or its schema and `jobs` of data.

    The largest tables go to the least filled stream; the last has the rest and all else that is data: sequences, large
    objects, tables that were made since.
    """
    total = sum(size for _, _, size in tables)
    if jobs < 2 or total < DIVIDED_ABOVE_BYTES:
        return [Part("all", "all", bytes=total)]
    data = [Part(f"data-{number}", "data") for number in range(1, jobs)]
    rest = Part("data-rest", "data")
    for schema, name, size in tables:
        smallest = min([*data, rest], key=lambda part: part.bytes)
        smallest.bytes += size
        if smallest is not rest and size * 100 > total:  # the many small ones are no reason for a long command line
            smallest.tables.append(quoted(schema, name))
    rest.excluded = [name for part in data for name in part.tables]
    return [Part("schema", "schema"), *(part for part in data if part.tables), rest]


def quoted(schema: str, name: str) -> str:
    """Return a pattern that matches this table alone: within quotes nothing is special but the quote."""
    return ".".join('"' + word.replace('"', '""') + '"' for word in (schema, name))


class Stream:
    """pg_dump's output on its way to the store, in a thread of its own so that digests are computed meanwhile."""

    def __init__(self, store: ObjectStore, key: str, part: Part, argv: list[str], retain_until: datetime | None) -> None:
        """Start the program; nothing is read before the block is entered."""
        self._store, self._key, self._part, self._retain_until = store, key, part, retain_until
        self._error: BaseException | None = None
        self._stored: DumpPart | None = None
        self._thread = threading.Thread(target=self._run, name=f"upload {key}", daemon=True)
        self._output = clients.Output([*argv, *part.options()])

    @property
    def stored(self) -> DumpPart:
        """Return what the store holds; to be asked after `wait`."""
        if self._stored is None:
            raise Failed(f"{self._key} was not stored", next="run the same command again")
        return self._stored

    @property
    def bytes_read(self) -> int:
        """Return how much pg_dump has written so far, uncompressed."""
        return self._output.bytes_read

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._output.stop()  # the uploading thread then sees a failed program and gives up its upload
        self._thread.join()
        self._output.close()

    def check(self) -> None:
        """Raise what went wrong so far: whoever digests meanwhile need not go on."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Return when the dump is stored; raise what went wrong."""
        self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            raw = io.BufferedReader(self._output, BLOCK_BYTES)
            with zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_reader(raw, closefd=False) as packed:
                stored = self._store.upload(self._key, packed, retain_until=self._retain_until)
            self._stored = DumpPart(
                key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size,
                section=self._part.section, tables=self._part.tables,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits
            self._error = error
