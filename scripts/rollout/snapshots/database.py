"""A Postgres database at one instant: taken into the object store, and compared with any copy of it."""

from __future__ import annotations

import io
import threading
import time
from typing import Self

from psycopg.rows import dict_row

from rollout import environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients, contents
from rollout.snapshots.records import (
    DIFFERENCES_MAX,
    Comparison,
    Contents,
    DatabaseSnapshot,
    DumpPart,
    Origin,
    Progress,
    StoredObject,
    now,
    quiet,
)

COMPRESSION = "gzip:1"
LOCK_WAIT_MS = 5000


def take_database(
    database: environment.Database, store: ObjectStore, prefix: str, progress: Progress = quiet
) -> DatabaseSnapshot:
    """Store a dump of `database` under `prefix` and return what a copy of it has to equal.

    Digests and dump are read at the same time in one exported transaction snapshot, so both speak of the same instant
    while writers go on. The dump goes from pg_dump straight to the store. Raise Failed when pg_dump, the server or the
    store fail, Refused when row security hides rows or the client tools are too old; an object that was begun is then
    not completed.
    """
    started_at, started = now(), time.monotonic()
    with contents.reading(database) as connection:
        row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None
        origin = _origin(database, connection)
        program, version = clients.find("pg_dump", origin.server_major)
        # Which schemas exist is not said: all of them, the ledger's with them. A table that somebody holds locked is
        # not waited for.
        upload = _Upload(
            store,
            f"{prefix.rstrip('/')}/{database.tier}/{database.host}.dump",
            [
                str(program),
                "--format=custom",
                f"--compress={COMPRESSION}",
                f"--snapshot={row[0]}",
                "--no-password",
                f"--lock-wait-timeout={LOCK_WAIT_MS}",
                f"--dbname={database.conninfo('rollout-dump')}",
            ],
        )
        with upload:
            held = contents.read(connection, upload.wait, progress)
        held_seconds = time.monotonic() - started
    stored = upload.stored
    progress(f"dump of {database.host}", stored.size, stored.size)
    return DatabaseSnapshot(
        origin=origin,
        parts=[DumpPart(**stored.model_dump())],
        client_version=version,
        compression=COMPRESSION,
        contents=held,
        started_at=started_at,
        finished_at=now(),
        snapshot_held_seconds=round(held_seconds, 3),
    )


def compare_database(
    snapshot: DatabaseSnapshot, target: environment.Database, progress: Progress = quiet
) -> Comparison:
    """Compare every table, sequence and catalogue object of `target` with the snapshot; nothing is changed."""
    started = time.monotonic()
    with contents.reading(target) as connection:
        found = contents.read(connection, lambda: None, progress)
        extensions = connection.execute(contents.statement("extensions")).fetchall()
    left_out = [
        identity
        for identity in snapshot.contents.objects
        if identity.startswith("extension ") and identity not in found.objects and identity != "extension plpgsql"
    ]
    extra = {f"extension {name}" for name, _, needed in extensions if not needed}
    differences = contents_differences(snapshot.contents, found, ignored=set(left_out) | extra)
    return Comparison(
        host=target.host,
        tables=len(snapshot.contents.tables),
        rows=found.rows,
        objects=len(snapshot.contents.objects),
        differences_total=len(differences),
        differences=differences[:DIFFERENCES_MAX],
        left_out=left_out,
        seconds=round(time.monotonic() - started, 3),
    )


def contents_differences(expected: Contents, found: Contents, ignored: set[str]) -> list[str]:
    """Return one sentence for each table, sequence or object that is missing, unexpected or different."""
    differences = []
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        ours, theirs = expected.tables.get(name), found.tables.get(name)
        if ours == theirs:
            continue
        if ours is None or theirs is None:
            differences.append(f"table {name} is {'missing' if theirs is None else 'not in the snapshot'}")
        elif ours.rows != theirs.rows:
            differences.append(f"table {name} has {theirs.rows:,} rows, the snapshot {ours.rows:,}")
        else:
            differences.append(f"table {name} has the same {ours.rows:,} rows in number, but not in content")
    for name in sorted(expected.sequences.keys() & found.sequences.keys()):
        value = found.sequences[name].after
        if not expected.sequences[name].holds(value):
            differences.append(
                f"sequence {name} stands at {value // 2:,}, the snapshot at {expected.sequences[name].before // 2:,}"
            )
    for identity in sorted((expected.objects.keys() | found.objects.keys()) - ignored):
        ours_is, theirs_is = expected.objects.get(identity), found.objects.get(identity)
        if ours_is != theirs_is:
            how = "missing" if theirs_is is None else "not in the snapshot" if ours_is is None else "defined otherwise"
            differences.append(f"{identity} is {how}")
    return differences


def _origin(database: environment.Database, connection: contents.Connection) -> Origin:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(contents.statement("origin")).fetchone()
    assert row is not None
    return Origin(
        host=database.host,
        tier=database.tier,
        dbname=database.dbname,
        address=database.address,
        port=database.port,
        **row,
    )


class _Upload:
    """pg_dump's output on its way to the store, in a thread of its own so that digests are computed meanwhile."""

    def __init__(self, store: ObjectStore, key: str, argv: list[str]) -> None:
        self._store, self._key, self._argv = store, key, argv
        self._error: BaseException | None = None
        self._stored: StoredObject | None = None
        self._thread = threading.Thread(target=self._run, name=f"upload {key}", daemon=True)
        self._output = clients.Output(argv)

    @property
    def stored(self) -> StoredObject:
        """Return what the store holds; to be asked after `wait`."""
        if self._stored is None:
            raise Failed(f"{self._key} was not stored", next="run the same command again")
        return self._stored

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._output.stop()  # the uploading thread then sees a failed program and gives up its upload
        self._thread.join()
        self._output.close()

    def wait(self) -> None:
        """Return when the dump is stored; raise what went wrong."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            stored = self._store.upload(self._key, io.BufferedReader(self._output, 1 << 20))
            self._stored = StoredObject(
                key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size
            )
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits
            self._error = error
