"""A Postgres server of a tier: its own cluster, one database, the roles of the runner and of the product."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psutil
import psycopg
from psycopg import sql

from rollout.errors import BadInput, Failed
from rollout.sandbox import record, templates
from rollout.sandbox.layout import Ground, Layout
from rollout.sandbox.server import Server

RUNNER = "penguin_rollout"
APPLICATION = "penguin_app"
WORKER = "penguin_worker"
BACKUP = "penguin_backup"
SUPERUSER = "postgres"
# Cluster-wide, so the DBA's to make; each attribute is stated, so that a role that drifted is set right. The runner owns
# the tables, and FORCE ROW LEVEL SECURITY binds owners: it copies and compares whole tables, a backup dumps them.
ROLES: dict[str, str] = {
    RUNNER: "LOGIN NOSUPERUSER NOCREATEROLE CREATEDB BYPASSRLS",
    APPLICATION: "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS",
    WORKER: "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS",
    "penguin_analyst": "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS",
    "penguin_auditor": "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS",
    BACKUP: "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB BYPASSRLS REPLICATION",
}
MEMBERSHIPS: dict[str, str] = {RUNNER: "pg_monitor, pg_signal_backend", BACKUP: "pg_read_all_data"}
# What the runner may do with the log besides: end a segment, so that it can be archived, and name a point of it.
LOG_FUNCTIONS = ("pg_switch_wal()", "pg_create_restore_point(text)")


@dataclass(frozen=True)
class Postgres(Server):
    """One Postgres server on 127.0.0.1 only, no Unix socket (whose path would have to fit 107 bytes)."""

    tier: str

    kind: ClassVar[str] = "postgres"
    # Fast shutdown, then immediate (the next start recovers), then the kernel's way.
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGINT, 10.0),
        (signal.SIGQUIT, 5.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def dbname(self) -> str:
        """The tier's database."""
        return f"penguinmails_{self.tier}"

    def conninfo(self, user: str, *, dbname: str | None = None) -> str:
        """Return a libpq connection string; the password stays in a passfile."""
        passfile = self.layout.superuser_passfile if user == SUPERUSER else self.layout.passfile
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=self.port,
            dbname=dbname or self.dbname,
            user=user,
            passfile=str(passfile),
            connect_timeout=5,
        )

    def launch(self, ground: Ground) -> None:
        """Make the cluster when there is none, write its configuration and start it."""
        folder = ground.server(self.host)
        data = folder / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(ground, folder, data)
        else:
            self._check_version(ground, data)
            _outlive_orphans(data)
        ground.write(
            data / "postgresql.conf",
            templates.render("postgresql.conf.j2", port=self.port, staging=self.host.startswith("staging")),
        )
        ground.write(data / "pg_hba.conf", templates.render("pg_hba.conf.j2"))
        self.layout.pidfile(self.host).start(
            [str(ground.binaries.postgres / "postgres"), "-D", str(data)],
            folder=data, log=self.layout.log(self.host), env=_environment(), account=ground.account,
        )  # fmt: skip

    def ask(self) -> None:
        """Run SELECT 1 as the superuser."""
        with psycopg.connect(self.conninfo(SUPERUSER, dbname="postgres"), autocommit=True) as connection:
            connection.execute("SELECT 1")

    def complete(self) -> None:
        """Make roles, database and extension where they are missing."""
        passwords = read_passwords(self.layout)
        with psycopg.connect(self.conninfo(SUPERUSER, dbname="postgres"), autocommit=True) as connection:
            known = {str(row[0]) for row in connection.execute("SELECT rolname FROM pg_roles")}
            for role, attributes in ROLES.items():
                verb = "ALTER" if role in known else "CREATE"
                connection.execute(
                    sql.SQL("{verb} ROLE {role} {attributes} PASSWORD {password}").format(
                        verb=sql.SQL(verb), role=sql.Identifier(role), attributes=sql.SQL(attributes),
                        password=sql.Literal(_scram(connection, passwords[role], role)),
                    )
                )  # fmt: skip
            for role, granted in MEMBERSHIPS.items():
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(granted), sql.Identifier(role)))
            # An autovacuum then gives way within the stall budget, instead of being waited for.
            connection.execute(
                sql.SQL("GRANT SET ON PARAMETER deadlock_timeout TO {}").format(sql.Identifier(RUNNER))
            )
            for function in LOG_FUNCTIONS:  # in the maintenance database: a grant in the tier's would be in every dump of it
                grant = sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}")
                connection.execute(grant.format(sql.SQL(function), sql.Identifier(RUNNER)))
            # So that whoever has the backup's password cannot write by accident; that it has no right to is the rule.
            connection.execute("ALTER ROLE penguin_backup SET default_transaction_read_only = on")
        self.ensure_database()

    def ensure_database(self) -> None:
        """Make the tier's database, owned by the runner, and its extension, where they are missing."""
        with psycopg.connect(self.conninfo(SUPERUSER, dbname="postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.dbname,)).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(self.dbname), sql.Identifier(RUNNER))
                )
        with psycopg.connect(self.conninfo(SUPERUSER), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def recreate_database(self) -> None:
        """Throw the tier's database away, sessions included, and make an empty one."""
        with psycopg.connect(self.conninfo(SUPERUSER, dbname="postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.dbname)))
        self.ensure_database()

    def _initialise(self, ground: Ground, folder: Path, data: Path) -> None:
        # initdb takes half a second and gives each cluster its own system identifier; a copied cluster would share it.
        # An initdb whose `up` was killed may still be at work: it keeps its own folder, which the next start removes.
        for left in folder.glob("data*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in folder.glob("password.*"):
            left.unlink(missing_ok=True)
        part, password = folder / f"data.{os.getpid()}", folder / f"password.{os.getpid()}"
        ground.write(password, read_passwords(self.layout)[SUPERUSER] + "\n")
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            if ground.binaries.postgres_major() >= 17
            else ["--locale=C"]
        )
        try:
            done = subprocess.run(
                [ground.binaries.postgres / "initdb", "-D", part, "-U", SUPERUSER, f"--pwfile={password}", "--encoding=UTF8",
                 "--auth=scram-sha-256", "--data-checksums", "--no-sync", "--no-instructions", *locale],
                capture_output=True, text=True, check=False, timeout=120, cwd=folder, env=_environment(),
                **({} if ground.account is None else ground.account.popen()),
            )  # fmt: skip
        finally:
            password.unlink()
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Failed(f"initdb of {self.host}: {reason}", next="correct that, then invoke sandbox.up")
        part.rename(data)

    def _check_version(self, ground: Ground, data: Path) -> None:
        made, here = int((data / "PG_VERSION").read_text()), ground.binaries.postgres_major()
        if made != here:
            raise BadInput(
                f"{self.host} was made by Postgres {made}, the program found is {here}",
                limit="the same major version", next="invoke sandbox.down --purge, then invoke sandbox.up",
            )  # fmt: skip


def create_passwords(layout: Layout) -> None:
    """Generate the passwords of all roles once; those that a passfile has are kept, roles it lacks are added."""
    for passfile, roles in ((layout.superuser_passfile, [SUPERUSER]), (layout.passfile, list(ROLES))):
        text = passfile.read_text() if passfile.exists() else ""
        known = {line.split(":")[3] for line in text.splitlines()}
        lines = [f"127.0.0.1:*:*:{role}:{secrets.token_urlsafe(24)}\n" for role in roles if role not in known]
        if lines:
            record.replace(passfile, text + "".join(lines))


def read_passwords(layout: Layout) -> dict[str, str]:
    """Return the password of each role."""
    text = layout.superuser_passfile.read_text() + layout.passfile.read_text()
    return {line.split(":")[3]: line.split(":")[4] for line in text.splitlines()}


def _scram(connection: psycopg.Connection[tuple[object, ...]], password: str, role: str) -> str:
    # Only the verifier travels, so that no password reaches a server log or pg_stat_statements.
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _outlive_orphans(data: Path) -> None:
    # After SIGKILL of a postmaster its children notice and end within moments; until then no new one may start. A
    # postmaster.pid from before may name a pid that another of our servers has now, which Postgres would refuse.
    deadline = time.monotonic() + 10
    while any(_works_in(process, data) for process in psutil.process_iter()):
        if time.monotonic() > deadline:
            raise Failed(f"processes of a former server still work in {data}", next="end them, then invoke sandbox.up")
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name().startswith("postgres") and process.cwd() == str(data)
    except psutil.Error:
        return False
