"""Keys of a snapshot that match a pattern, restored into a live Redis: the other way into a live server.

What each of them was before is in the store before it is replaced, and nothing else is touched.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import redis

from rollout import environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Merged, Progress, RedisSnapshot, StoredObject, quiet
from rollout.snapshots.redis import compat, guards, logical, stream
from rollout.snapshots.redis.client import Ask, asked, batch, command, connect, databases, encode, scan, session
from rollout.snapshots.redis.copies import of_snapshot, written_by
from rollout.snapshots.redis.logical import BATCH_KEYS, Dumped
from rollout.snapshots.redis.programs import choose

ATTEMPTS = 20  # of one batch whose keys change while what they were is being stored


def merge(
    snapshot: RedisSnapshot,
    store: ObjectStore,
    target: environment.Redis,
    pattern: str,
    prefix: str,
    progress: Progress = quiet,
    *,
    delete_absent: bool = False,
) -> Merged:
    """Restore the keys that match a glob `pattern` into a server, live ones too, each replaced whole or not at all.

    What a key was is stored under `prefix` first; a write that comes in between undoes and repeats its batch of 500, so
    none is lost. `delete_absent`: keys that match and that the snapshot has not are deleted, too. Repeatable: keys that
    are as they should be are left alone. Raise Refused when the server does not read what a helper writes, is a replica
    or a cluster's node; Failed when keys change all the time.
    """
    started = time.monotonic()
    about = asked(target)
    guards.require_readable(snapshot, target, about)
    guards.require_not_cluster(target, about)
    written = written_by(snapshot)
    program = choose(
        lambda p: p.reads(written) and compat.reads(p.writes(), about.product, about.version),
        compat.of(about.product, about.version),
    )
    with of_snapshot(snapshot, store, target, program, progress=progress) as source, connect(target) as client:
        work = _Merge(client, store, f"{prefix.rstrip('/')}/redis/{target.host}.before", target.host)
        for database, found in logical.records(source.client, progress, pattern):
            work.put(database, found)
        if delete_absent:
            for database, keys in _absent(client, source.client, pattern):
                work.put(database, [(key, None, 0) for key in keys])
    return work.result(pattern, started)


def undo_merge(
    merged: Merged, store: ObjectStore, target: environment.Redis, prefix: str, progress: Progress = quiet
) -> Merged:
    """Make every key that a merge changed what it was before; what they are now is stored under `prefix` first."""
    started = time.monotonic()
    with connect(target) as client:
        work = _Merge(client, store, f"{prefix.rstrip('/')}/redis/{target.host}.before", target.host)
        for number, stored in enumerate(reversed(merged.before), 1):
            body = io.BytesIO()
            store.download(stored.key, body, stored.sha256, version_id=stored.version_id or None)
            body.seek(0)
            database, wanted = _wanted(stream.commands(body))
            work.put(database, wanted)
            progress("undo objects", number, len(merged.before))
    return work.result(merged.pattern, started)


class _Merge:
    """One merge: its counts, and the objects with what keys were."""

    def __init__(self, client: redis.Redis, store: ObjectStore, base: str, host: str) -> None:
        self.client, self.store, self.base, self.host = client, store, base, host
        self.exact = logical.knows_expiretime(client)
        self.counts = {"replaced": 0, "added": 0, "deleted": 0, "kept": 0}
        self.before: list[StoredObject] = []
        self.stored = 0

    def put(self, database: int, wanted: list[Dumped]) -> None:
        """Make keys what they are to be (None: gone) after what they are is stored; raise Failed after 20 attempts."""
        for _attempt in range(ATTEMPTS):
            with session(self.client) as ask:
                if self._once(ask, database, wanted):
                    return
        raise Failed(
            f"keys of {self.host} changed each time they were to be replaced, such as {wanted[0][0][:40]!r}",
            limit=f"{ATTEMPTS} attempts",
            next="drain what writes to them, then the same command: what is done is done",
        )

    def result(self, pattern: str, started: float) -> Merged:
        """Return what has been done."""
        seconds = round(time.monotonic() - started, 3)
        return Merged(host=self.host, pattern=pattern, before=self.before, seconds=seconds, **self.counts)

    def _once(self, ask: Ask, database: int, wanted: list[Dumped]) -> bool:
        keys = [key for key, _, _ in wanted]
        ask([encode(["SELECT", database]), encode([b"WATCH", *keys])])
        now = logical.read_keys(ask, keys, exact=self.exact, atomic=False)
        changes = [(was, new) for was, new in zip(now, wanted, strict=True) if was != new]
        if changes:
            self._keep(database, [was for was, _ in changes])
            steps = [encode(logical.restore_words(*new)) for _, new in changes]
            answers = ask([encode(["MULTI"]), *steps, encode(["EXEC"]), encode(["SELECT", 0])])
            if answers[-2] is None:
                self.before.pop()  # somebody wrote to one of them: that object tells what it no longer was
                return False
            self._require_done(answers)
        else:
            ask([encode(["UNWATCH"]), encode(["SELECT", 0])])
        self.counts["kept"] += len(wanted) - len(changes)
        for was, new in changes:
            self.counts["deleted" if new[1] is None else "added" if was[1] is None else "replaced"] += 1
        return True

    def _keep(self, database: int, were: list[Dumped]) -> None:
        commands = [[b"SELECT", b"%d" % database], *(logical.restore_words(*was) for was in were)]
        self.stored += 1
        key = f"{self.base}-{self.stored:05d}.records.zst"
        stored = self.store.upload(key, io.BufferedReader(stream.Compressed({"host": self.host}, commands)))
        self.before.append(
            StoredObject(key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size)
        )

    def _require_done(self, answers: list[Any]) -> None:
        done = answers[-2]
        wrong = [one for one in (done if isinstance(done, list) else answers) if isinstance(one, Exception)]
        if wrong:
            raise Failed(
                f"{self.host} refused {len(wrong):,} of a batch of keys: {wrong[0]}",
                next=f"see what it lacks; what the batch replaced is in {self.before[-1].key}",
            )


def _absent(client: redis.Redis, source: redis.Redis, pattern: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yield, by database, keys of a server that match and that the source has not."""
    for database, _, _ in databases(client):
        command(client, "SELECT", database)
        command(source, "SELECT", database)
        for keys in scan(client, BATCH_KEYS, pattern):
            there = batch(source, [encode([b"EXISTS", key]) for key in keys])
            gone = [key for key, exists in zip(keys, there, strict=True) if not exists]
            if gone:
                yield database, gone
                command(client, "SELECT", database)  # the merge has gone back to the first
    command(client, "SELECT", 0)
    command(source, "SELECT", 0)


def _wanted(commands: Iterator[stream.Words]) -> tuple[int, list[Dumped]]:
    """Return database and keys of one object that a merge has stored."""
    database = int(next(commands)[1])
    return database, [(w[1], None, 0) if w[0] == b"UNLINK" else (w[1], w[3], int(w[2])) for w in commands]
