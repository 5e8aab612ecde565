"""A snapshot of a database brought back, into staging only: verified bytes first, then a database made anew."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import psycopg
from psycopg import sql

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients
from rollout.snapshots.records import DatabaseSnapshot, Origin, Progress, Restored, quiet
from rollout.snapshots.workspace import require_space, workspace

JOBS = 2
TIMEOUT_SECONDS = 6 * 3600.0
_EXTENSION_ENTRY = re.compile(r"^\d+; \d+ \d+ (?:EXTENSION - |COMMENT - EXTENSION )(\S+)")


def restore_database(
    snapshot: DatabaseSnapshot, store: ObjectStore, target: environment.Database, progress: Progress = quiet
) -> Restored:
    """Replace the staging database `target` by the snapshot's; sessions there are ended.

    The dump is fetched whole and its SHA-256 verified before anything is dropped. Raise Refused when `target` is not of
    the staging host set or is the server the snapshot was taken from, or an extension that the data needs cannot be
    created; Failed otherwise.
    """
    started = time.monotonic()
    require_staging(target.host, target.host_set)
    with _administering(target) as connection:
        server_major = _require_other_server(connection, snapshot.origin, target)
    program, _ = clients.find("pg_restore", server_major, oldest=int(snapshot.client_version.split(".")[0]))
    with workspace("restore") as folder:
        (part,) = snapshot.parts
        require_space(folder, part.size)
        dump = folder / "dump"
        progress(f"fetch {part.key}", 0, part.size)
        store.download(part.key, dump, part.sha256, version_id=part.version_id or None)
        progress(f"restore {target.host}", 0, None)
        with _administering(target) as connection:
            _recreate(connection, snapshot.origin, target)
        listing, left_out = _listing(program, dump, target)
        (folder / "listing").write_text(listing)
        clients.run(
            [
                str(program),
                f"--jobs={JOBS}",
                "--exit-on-error",
                "--no-password",
                f"--use-list={folder / 'listing'}",
                f"--dbname={target.conninfo('rollout-restore')}",
                str(dump),
            ],
            folder,
            TIMEOUT_SECONDS,
        )
    with psycopg.connect(target.conninfo("rollout-restore"), autocommit=True) as connection:
        connection.execute("ANALYZE")  # a dump carries no statistics, and the rehearsal needs the plans of production
    seconds = round(time.monotonic() - started, 3)
    progress(f"restore {target.host}", 1, 1)
    return Restored(host=target.host, seconds=seconds, left_out=left_out)


def require_staging(host: str, host_set: str) -> None:
    """Raise Refused unless the host is of the staging set: a restore never goes over a live one."""
    if host_set != "staging":
        raise Refused(
            f"{host} is of the host set {host_set!r}",
            limit="restores go to staging, never over a live server",
            next="name the staging host of this tier",
            page="runbooks/restore.md",
        )


def _administering(target: environment.Database) -> psycopg.Connection[tuple[object, ...]]:
    elsewhere = target.model_copy(update={"dbname": "postgres"})
    try:
        return psycopg.connect(elsewhere.conninfo("rollout-restore"), autocommit=True)
    except psycopg.OperationalError as error:
        raise Failed(
            f"{target.host} does not answer: {str(error).strip().splitlines()[-1]}", next="invoke sandbox.status"
        ) from None


def _require_other_server(
    connection: psycopg.Connection[tuple[object, ...]], origin: Origin, target: environment.Database
) -> int:
    row = connection.execute(
        "SELECT system_identifier::text, current_setting('server_version_num')::int / 10000 FROM pg_control_system()"
    ).fetchone()
    assert row is not None
    if row[0] == origin.system_identifier and target.dbname == origin.dbname:
        raise Refused(
            f"{target.host} is the server that the snapshot was taken "
            f"from, or a physical copy of it (system identifier {row[0]})",
            limit="a server of its own",
            next=f"correct the address of {target.host} in the inventory",
            page="runbooks/restore.md",
        )
    return int(str(row[1]))


def _recreate(connection: psycopg.Connection[tuple[object, ...]], origin: Origin, target: environment.Database) -> None:
    name = sql.Identifier(target.dbname)
    locale = {"c": "libc", "i": "icu", "b": "builtin"}[origin.locale_provider]
    options = [
        sql.SQL("TEMPLATE template0 ENCODING {} LOCALE_PROVIDER {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(origin.encoding), sql.Identifier(locale), sql.Literal(origin.collate), sql.Literal(origin.ctype)
        )
    ]
    if origin.locale is not None:
        key = sql.SQL("ICU_LOCALE {}" if locale == "icu" else "BUILTIN_LOCALE {}")
        options.append(key.format(sql.Literal(origin.locale)))
    try:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(name, sql.SQL(" ").join(options)))
        for setting in origin.settings:
            key_text, _, value = setting.partition("=")
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} TO {}").format(name, sql.Identifier(key_text), sql.Literal(value))
            )
        if origin.grants is not None:
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        for grantee, privilege, grantable in origin.grants or []:
            connection.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                    sql.SQL(privilege),  # a keyword out of aclexplode
                    name,
                    sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC"),
                    sql.SQL(" WITH GRANT OPTION" if grantable else ""),
                )
            )
    except psycopg.Error as error:
        raise Failed(
            f"{target.host}: {target.dbname} could not be made anew: "
            f"{error.diag.message_primary} (SQLSTATE {error.sqlstate})",
            next="give the runner's role CREATEDB and pg_signal_backend there, then run the same command",
        ) from error


def _listing(program: Path, dump: Path, target: environment.Database) -> tuple[str, list[str]]:
    """Return the dump's table of contents without the extensions that this role may not create, and their names.

    What needs one of them fails by name during the restore, so nothing that matters is left out in silence.
    """
    done = subprocess.run(
        [str(program), "--list", str(dump)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=clients.environment(),
    )
    if done.returncode != 0:
        raise Failed(f"pg_restore cannot read the dump: {done.stderr.strip()[-500:]}", next="take a new snapshot")
    wanted = {e[1] for e in map(_EXTENSION_ENTRY.match, done.stdout.splitlines()) if e}
    with psycopg.connect(target.conninfo("rollout-restore"), autocommit=True) as connection:
        refused = {name for name in wanted if not _may_create(connection, name)}
    kept = [line for line in done.stdout.splitlines() if not ((e := _EXTENSION_ENTRY.match(line)) and e[1] in refused)]
    return "\n".join(kept) + "\n", [f"extension {name}" for name in sorted(refused)]


def _may_create(connection: psycopg.Connection[tuple[object, ...]], extension: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
        return False
    return True
