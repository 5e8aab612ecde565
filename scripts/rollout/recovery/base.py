"""A base backup, from pg_basebackup straight into the store; it exists once its record is written, last."""

from __future__ import annotations

import getpass
import io
import re
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from typing import IO

import zstandard
from pydantic import ValidationError

from rollout.environment import Database
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.recovery import server
from rollout.recovery.records import ROOT, Base, name_of, place
from rollout.snapshots import clients
from rollout.snapshots.records import Progress, StoredObject, now, quiet

LEVEL = 1
START = re.compile(r"write-ahead log start point: ([0-9A-F/]+) on timeline (\d+)")
END = re.compile(r"write-ahead log end point: ([0-9A-F/]+)")


class _Counted(io.RawIOBase):
    """pg_basebackup's output, with progress told as it is read."""

    def __init__(self, output: clients.Output, progress: Progress, what: str, total: int) -> None:
        self._output, self._progress, self._what, self._total = output, progress, what, total

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        count = self._output.readinto(buffer)
        self._progress(self._what, self._output.bytes_read, self._total)
        return count


def take(database: Database, store: ObjectStore, progress: Progress = quiet, *, keep_days: int | None = None) -> Base:
    """Store a base backup of a database's server and return its record.

    It holds its own log, from start to end; what came later is in the archive (archive.py). Raise Refused
    where the inventory names no role for replication, or the server has tablespaces of its own, Failed otherwise.
    """
    conninfo, said = server.replication(database), server.ask(database)
    if said.tablespaces:
        raise Refused(
            f"{database.host} has {said.tablespaces} tablespaces of its own",
            limit="none: one stream holds one directory",
            next="use the provider's or another tool's physical backups for it, or logical snapshots",
            page=server.PAGE,
        )
    program, version = clients.find("pg_basebackup", said.major)
    started_at = now()
    prefix = f"{place(database.host, said.system_identifier)}bases/{name_of(started_at)}"
    argv = [
        str(program), f"--dbname={conninfo}", "--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast",
        "--manifest-checksums=SHA256", "--no-password", "--verbose", f"--label=rollout {name_of(started_at)}",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as words:
        output = clients.Output(argv, stderr=words)
        try:
            raw = io.BufferedReader(_Counted(output, progress, f"base of {database.host}", said.bytes), 1 << 20)
            with zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).stream_reader(raw, closefd=False) as packed:
                until = started_at + timedelta(days=keep_days) if keep_days else None
                stored = store.upload(f"{prefix}.tar.zst", packed, retain_until=until)
        finally:
            output.close()
        start, timeline, end = _points(words)
    base = Base(
        host=database.host, tier=database.tier, system_identifier=said.system_identifier, server_version=said.version,
        server_major=said.major, segment_bytes=said.segment_bytes, superuser=said.superuser, timeline=timeline, start_lsn=start,
        end_lsn=end, database_bytes=said.bytes, client_version=version, who=getpass.getuser(), started_at=started_at,
        tar=StoredObject(key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size),
        finished_at=now(),
    )  # fmt: skip
    store.create(f"{prefix}.json", base.model_dump_json(indent=1).encode())
    return base


def every(store: ObjectStore, host: str) -> Iterator[Base]:
    """Yield the base backups of a host that exist, the oldest first, whatever server it was then."""
    keys = [key for key in store.keys(f"{ROOT}/{host}/") if "/bases/" in key and key.endswith(".json")]
    for key in sorted(keys, key=lambda key: key.rpartition("/")[2]):
        try:
            yield Base.model_validate_json(store.read(key)[0])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise Failed(f"{key} is wrong at {where}: {first['msg']}", next="take a new base backup") from None


def _points(words: IO[bytes]) -> tuple[str, int, str]:
    words.seek(0)
    text = words.read().decode(errors="replace")
    start, end = START.search(text), END.search(text)
    if start is None or end is None:
        raise Failed("pg_basebackup did not say from where to where its log goes", next="give the same command again")
    return start[1], int(start[2]), end[1]
