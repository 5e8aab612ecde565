"""A Postgres database at one instant: taken into the object store, and compared with any copy of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import timedelta

from psycopg.rows import dict_row

from rollout import environment
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients, contents, markers, roles
from rollout.snapshots.dumping import COMPRESSION, LOCK_WAIT_MS, Part, Stream, divide
from rollout.snapshots.records import (
    DIFFERENCES_MAX,
    Comparison,
    Contents,
    DatabaseSnapshot,
    Origin,
    Progress,
    now,
    quiet,
)


def take_database(
    database: environment.Database, store: ObjectStore, prefix: str, progress: Progress = quiet, *, jobs: int = 2,
    marker: str = "", keep_days: int | None = None,
) -> DatabaseSnapshot:  # fmt: skip
    """Store a dump of `database` under `prefix` and return what a copy of it has to equal.

    Digests and all `jobs` streams are read at the same time in one exported transaction snapshot, so they speak of the same
    instant while writers go on. A stream goes from pg_dump straight to the store. `marker`: a name that is put into the database
    before, to be looked for in a copy. `keep_days`: how long the objects are kept under lock, where the bucket has that. Raise
    Failed when pg_dump, the server or the store fail, Refused when row security hides rows or the client tools are too old; an
    object that was begun is then not completed.
    """
    started_at, started = now(), time.monotonic()
    marked = markers.put(database, marker) if marker else None
    retain_until = started_at + timedelta(days=keep_days) if keep_days else None
    with contents.reading(database) as connection:
        row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None
        origin = _origin(database, connection)
        program, version = clients.find("pg_dump", origin.server_major)
        tables = [(str(s), str(n), int(b)) for s, n, b in connection.execute(contents.statement("table_sizes"))]
        # Which schemas exist is not said: all of them, the ledger's with them. A table that somebody holds locked is
        # not waited for.
        argv = [
            str(program), "--format=custom", "--compress=0", f"--snapshot={row[0]}", "--no-password",
            f"--lock-wait-timeout={LOCK_WAIT_MS}", f"--dbname={database.conninfo('rollout-dump')}",
        ]  # fmt: skip
        with ExitStack() as stack:
            streams = [
                stack.enter_context(Stream(store, _key(prefix, database, part), part, argv, retain_until))
                for part in divide(tables, jobs)
            ]

            def wait() -> None:
                for stream in streams:
                    stream.wait()

            def watch(what: str, done: int, total: int | None) -> None:
                for stream in streams:
                    stream.check()
                progress(what, done, total)

            held = contents.read(connection, wait, watch)
        held_seconds = time.monotonic() - started
    return DatabaseSnapshot(
        origin=origin,
        parts=[stream.stored for stream in streams],
        roles=roles.read(database),
        marker=marked,
        client_version=version,
        compression=COMPRESSION,
        contents=held,
        started_at=started_at,
        finished_at=now(),
        snapshot_held_seconds=round(held_seconds, 3),
    )


def _key(prefix: str, database: environment.Database, part: Part) -> str:
    return f"{prefix.rstrip('/')}/{database.tier}/{database.host}.{part.name}.dump.zst"


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
