"""A snapshot of a database brought back: into staging in place of what is there, or beside anything under a new name."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from psycopg import sql

from rollout import environment
from rollout.errors import BadInput, Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots import clients, contents, label, pouring
from rollout.snapshots.label import Label
from rollout.snapshots.records import DatabaseSnapshot, DumpPart, Origin, Progress, Restored, quiet
from rollout.snapshots.server import administering, inside
from rollout.snapshots.workspace import require_space, workspace

JOBS = 2
DROP_SECONDS = 10.0
SYSTEM = "SELECT system_identifier::text, current_setting('server_version_num')::int / 10000 FROM pg_control_system()"
EMPTY = "SELECT count(*) FROM pg_class AS c WHERE c.oid >= 16384"
PAGE = "runbooks/restore.md"


def restore_database(
    snapshot: DatabaseSnapshot, store: ObjectStore, target: environment.Database, progress: Progress = quiet, *,
    beside: bool = False, name: str = "", jobs: int = JOBS,
) -> Restored:  # fmt: skip
    """Make the database `target` from a snapshot (`name`: the snapshot's). Sessions in the one that it replaces are ended.

    Without `beside` it replaces a database of the staging host set, and every object's SHA-256 is verified before anything is
    dropped. With `beside` the database must be new, on any server, or what an earlier attempt left half made; nobody works with
    it before it is compared, so data goes from the store into it and its SHA-256 is known at the end. Raise Refused when the
    place is not allowed, or the server older than the dump; Failed otherwise, and what was half made is dropped.
    """
    started = time.monotonic()
    if not beside:
        require_staging(target.host, target.host_set)
    with administering(target) as connection:
        major = _require_other_server(connection, snapshot.origin, target, beside=beside)
        if major < snapshot.origin.server_major:
            raise Refused(
                f"{target.host} is Postgres {major}, the snapshot of {snapshot.origin.host} {snapshot.origin.server_major}",
                limit=f"{snapshot.origin.server_major} or newer",
                next="name a server of that version",
                page=PAGE,
            )
        if beside:
            _require_new(connection, target)
    program, _ = clients.find("pg_restore", major, oldest=int(snapshot.client_version.split(".")[0]))
    if not beside:
        for part in snapshot.parts:
            progress(f"verify {part.key}", 0, part.size)
            pouring.verify(store, part)
    with workspace("restore") as folder:
        with administering(target) as connection:
            _recreate(connection, snapshot.origin, target)
            label.write(connection, target.dbname, Label(snapshot=name, host=_live(target, snapshot), name=target.dbname))
        try:
            left_out = _fill(snapshot, store, target, program, folder, progress, jobs)
            with inside(target) as connection:
                connection.execute("ANALYZE")  # a dump carries no statistics, and the rehearsal needs production's plans
        except BaseException:
            if beside:
                _give_up(target)
            raise
    progress(f"restore {target.host}", 1, 1)
    return Restored(host=target.host, seconds=round(time.monotonic() - started, 3), left_out=left_out)


def require_staging(host: str, host_set: str) -> None:
    """Raise Refused unless the host is of the staging set: a restore never goes over a live one."""
    if host_set != "staging":
        raise Refused(
            f"{host} is of the host set {host_set!r}",
            limit="restores go to staging, or beside a live database under a new name, never over one",
            next="name the staging host of this tier, or  invoke restore --snapshot ID",
            page=PAGE,
        )


def _fill(
    snapshot: DatabaseSnapshot, store: ObjectStore, target: environment.Database, program: Path, folder: Path,
    progress: Progress, jobs: int,
) -> list[str]:  # fmt: skip
    """Restore every part: what comes before the data, the data at once, what comes after. Return what was left out."""
    first = snapshot.parts[0]
    require_space(folder, snapshot.origin.database_bytes if first.section == "all" else 4 * first.size)
    archive = folder / "archive"
    progress(f"fetch {first.key}", 0, first.size)
    pouring.unpack(store, first, archive)
    listing, left_out = pouring.listing(program, archive, target)
    (folder / "listing").write_text(listing)
    argv = [str(program), "--exit-on-error", "--no-password", f"--dbname={target.conninfo('rollout-restore')}"]
    from_archive = [f"--use-list={folder / 'listing'}", str(archive)]
    if first.section == "all":
        progress(f"restore {target.host}", 0, None)
        clients.run([*argv, f"--jobs={jobs}", *from_archive], folder, pouring.TIMEOUT_SECONDS)
        return left_out
    clients.run([*argv, "--section=pre-data", *from_archive], folder, pouring.TIMEOUT_SECONDS)
    data = snapshot.parts[1:]
    done, total = [0], sum(part.size for part in data)

    def pour(part: DumpPart) -> None:
        def count(bytes_read: int) -> None:
            done[0] += bytes_read
            progress(f"restore {target.host}", done[0], total)

        pouring.pour(store, part, argv, folder, count)

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        for poured in [pool.submit(pour, part) for part in data]:
            poured.result()
    progress(f"index {target.host}", 0, None)
    clients.run([*argv, "--section=post-data", f"--jobs={jobs}", *from_archive], folder, pouring.TIMEOUT_SECONDS)
    return left_out


def _live(target: environment.Database, snapshot: DatabaseSnapshot) -> str:
    """Return whose place a database beside it could take: the live one's on the same server."""
    return target.host if target.host_set == "live" else snapshot.origin.host


def _require_other_server(
    connection: label.Connection, origin: Origin, target: environment.Database, *, beside: bool
) -> int:
    row = connection.execute(SYSTEM).fetchone()
    assert row is not None
    if row[0] == origin.system_identifier and target.dbname == origin.dbname:
        raise Refused(
            f"{target.host} is the server that the snapshot was taken "
            f"from, or a physical copy of it (system identifier {row[0]})",
            limit="another name there" if beside else "a server of its own",
            next="leave --into away" if beside else f"correct the address of {target.host} in the inventory",
            page=PAGE,
        )
    return int(str(row[1]))


def _require_new(connection: label.Connection, target: environment.Database) -> None:
    """Raise BadInput when the name is taken by anything but what an earlier attempt of ours left half made."""
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (target.dbname,)).fetchone():
        return
    found = label.read(connection, target.dbname)
    if found and found.name == target.dbname and found.compared is None and found.replaced is None:
        return
    with contents.reading(target) as inside:
        row = inside.execute(EMPTY).fetchone()
    if found or (row and row[0]):
        raise BadInput(f"{target.host} has a database {target.dbname}", next="name another with --into", page=PAGE)


def _drop(connection: label.Connection, dbname: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dbname)))


def _give_up(target: environment.Database) -> None:
    """Drop what is half made; a server that is being restarted is waited for, one that stays away keeps it, not compared."""
    end = time.monotonic() + DROP_SECONDS
    while True:
        try:
            with administering(target) as connection:
                _drop(connection, target.dbname)
        except Failed:
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        except psycopg.Error:
            return
        else:
            return


def _recreate(connection: label.Connection, origin: Origin, target: environment.Database) -> None:
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
        _drop(connection, target.dbname)
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
        if connection.broken:
            raise
        raise Failed(
            f"{target.host}: {target.dbname} could not be made anew: "
            f"{error.diag.message_primary} (SQLSTATE {error.sqlstate})",
            next="give the runner's role CREATEDB and pg_signal_backend there, then run the same command",
        ) from error
