"""A stored dump on its way back: verified, unpacked to a file, or poured into pg_restore without one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
import zstandard
from psycopg import sql

from rollout import environment
from rollout.children import die_with_parent
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients
from rollout.snapshots.records import DumpPart
from rollout.snapshots.server import inside

TIMEOUT_SECONDS = 6 * 3600.0
END_SECONDS = 3600.0
_EXTENSION_ENTRY = re.compile(r"^\d+; \d+ \d+ (?:EXTENSION - |COMMENT - EXTENSION )(\S+)")

_SYSTEM_GRANT = re.compile(r"^\d+; \d+ \d+ ACL pg_catalog \S+ (.*) \S+$")


class _Through:
    """Passes what it is given on, and counts it; without anywhere to go it only counts."""

    def __init__(self, to: Any, count: Callable[[int], None]) -> None:
        self._to, self._count = to, count

    def write(self, block: bytes) -> int:
        if self._to is not None:
            self._to.write(block)
        self._count(len(block))
        return len(block)


def verify(store: ObjectStore, part: DumpPart) -> None:
    """Read a part to its end; raise Failed when its SHA-256 is not the one that was recorded when it was stored."""
    _fetch(store, part, _Through(None, lambda _: None))


def unpack(store: ObjectStore, part: DumpPart, path: Path) -> None:
    """Write a part, unpacked, to a file; raise Failed when it is not what was stored."""
    with path.open("wb") as file, _unpacker(file) as unpacked:
        _fetch(store, part, _Through(unpacked, lambda _: None))


def pour(store: ObjectStore, part: DumpPart, argv: list[str], folder: Path, count: Callable[[int], None]) -> None:
    """Let pg_restore read a part as it comes from the store; raise Failed for either, and for a part that is not what was stored.

    `count` is told of the bytes that came. What was restored of a damaged part has then been restored: the database is not to be
    used, and its maker drops it.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr, env=clients.environment(), cwd=folder,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )  # fmt: skip
        assert process.stdin is not None
        try:
            try:
                with process.stdin, _unpacker(process.stdin) as unpacked:
                    _fetch(store, part, _Through(unpacked, count))
            except BrokenPipeError:
                pass  # it has said why
            clients.check(Path(argv[0]).name, process.wait(timeout=END_SECONDS), stderr)
        except subprocess.TimeoutExpired:
            raise Failed(
                "pg_restore did not end",
                limit=f"{END_SECONDS:,.0f} s",
                next="run the same command again",
                verdict="inconclusive",
            ) from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def listing(program: Path, archive: Path, target: environment.Database) -> tuple[str, list[str]]:
    """Return the archive's table of contents without what this role may not make, and the names of that.

    That is extensions, and grants on the system's own functions. What needs an extension fails by name during the restore, so
    nothing that matters is left out in silence.
    """
    done = subprocess.run(
        [str(program), "--list", str(archive)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=clients.environment(),
    )
    if done.returncode != 0:
        raise Failed(f"pg_restore cannot read the dump: {done.stderr.strip()[-500:]}", next="take a new snapshot")
    wanted = {e[1] for e in map(_EXTENSION_ENTRY.match, done.stdout.splitlines()) if e}
    with inside(target) as connection:
        refused = {name for name in wanted if not _may_create(connection, name)}
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        superuser = bool(row and row[0])
    kept, left_out = [], [f"extension {name}" for name in sorted(refused)]
    for line in done.stdout.splitlines():
        extension, grant = _EXTENSION_ENTRY.match(line), _SYSTEM_GRANT.match(line)
        if grant and not superuser:
            left_out.append(f"grants on pg_catalog.{grant[1]}")
        elif not (extension and extension[1] in refused):
            kept.append(line)
    return "\n".join(kept) + "\n", left_out


def _unpacker(to: IO[bytes]) -> Any:
    return zstandard.ZstdDecompressor().stream_writer(to, closefd=False)


def _fetch(store: ObjectStore, part: DumpPart, out: Any) -> None:
    try:
        store.download(part.key, out, part.sha256, version_id=part.version_id or None)
    except zstandard.ZstdError:
        raise Failed(
            f"{part.key} does not unpack",
            limit=f"SHA-256 {part.sha256}, as recorded when it was stored",
            next="do not use this object; take an older snapshot, and keep this one for the inquiry",
            page="runbooks/object-store.md",
        ) from None


def _may_create(connection: psycopg.Connection[tuple[object, ...]], extension: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        return False
    return True
