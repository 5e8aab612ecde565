"""The proof of a snapshot: restored into throw-away servers beside the runner, compared with what it was taken from, checked.

Phase 1 proves the same on staging. Either way the verdict is written beside the manifest, whatever it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis
from psycopg import sql

from rollout.environment import Environment
from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import checking, markers, proof, roles, scratch
from rollout.snapshots.contents import reading
from rollout.snapshots.database import compare_database
from rollout.snapshots.database_restore import restore_database
from rollout.snapshots.proof import Proof
from rollout.snapshots.records import Comparison, DatabaseSnapshot, Manifest, RedisSnapshot, Role
from rollout.snapshots.redis.restoring import prove_redis
from rollout.snapshots.scratch import Scratch
from rollout.snapshots.taking import reporter

Show = Callable[[dict[str, Any]], None]
WHERE = "throw-away servers beside the runner"


def verify(env: Environment, store: ObjectStore, manifest: Manifest, show: Show, *, by: str, run: str = "") -> Proof:
    """Restore every part of a snapshot, one after the other, compare it, store the proof beside the manifest and return it.

    A part that cannot be restored makes a proof that fails, and says why. Raises Refused when no server of the right version
    is installed here, Failed when the store or a throw-away server do not work: no verdict then.
    """
    began, digest = time.monotonic(), proof.sha256_of(store, manifest)
    compared: dict[str, Comparison] = {}
    findings: list[str] = []
    recovered: dict[str, float] = {}
    tools: dict[str, str] = {}
    for taken in manifest.databases:
        host, started = taken.origin.host, time.monotonic()
        show(_line("verify", host, "start: restore", None))
        with scratch.server(taken.origin.server_major) as server:
            tools[f"postgres for {host}"] = _version(server)
            try:
                done = _database(store, manifest, taken, server, env.settings.snapshot_jobs, show)
                recovered[host], compared[host] = done[:2]
                findings += done[2]
            except (Failed, psycopg.Error) as error:
                findings.append(_against(error, host, server))
        show(_line("verify", host, _said(compared.get(host), findings, host), time.monotonic() - started))
    for copied in manifest.redis:
        started = time.monotonic()
        try:
            recovered[copied.host], compared[copied.host] = _redis(store, copied, show)
        except (Failed, redis.RedisError) as error:
            findings.append(_against(error, copied.host, None))
        show(_line("verify", copied.host, _said(compared.get(copied.host), findings, copied.host), time.monotonic() - started))
    made = proof.made(manifest, digest, compared, findings, by=by, where=WHERE, run=run, recovered=recovered, tools=tools,
                      seconds=time.monotonic() - began)  # fmt: skip
    proof.write(store, manifest, made)
    return made


def _database(
    store: ObjectStore, manifest: Manifest, taken: DatabaseSnapshot, server: Scratch, jobs: int, show: Show
) -> tuple[float, Comparison, list[str]]:
    """Return the seconds of the restore, how it compares, and what else is wrong."""
    host, began = taken.origin.host, time.monotonic()
    target = server.database(host, taken.origin.tier, taken.origin.dbname)
    _make_roles(server, taken.roles)
    say = reporter("verify", host, show)
    restore_database(taken, store, target, say, beside=True, name=manifest.id, jobs=jobs)
    restored = time.monotonic() - began
    compared = compare_database(taken, target, say)
    found = [f"{host}: {one}" for one in checking.check(target, say, jobs=jobs)]
    found += [f"{host}: {one}" for one in roles.differences(taken.roles, roles.read(target))]
    with reading(target) as connection:
        if taken.marker and not markers.held(connection, taken.marker.name):
            found.append(f"{host}: the marker {taken.marker.name} is not in it")
    return round(restored, 3), compared, found


def _against(error: Failed | psycopg.Error | redis.RedisError, host: str, server: Scratch | None) -> str:
    """Return what a failure says against the snapshot; raise Failed when it says nothing of it: store, disk or server failed."""
    words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if server is not None and server.process.poll() is not None:
        words = f"the throw-away server for {host} ended: {error.observed if isinstance(error, Failed) else words}"
    elif isinstance(error, Failed):
        if error.verdict == "inconclusive":
            raise error
        return f"{host}: {error.observed}"
    raise Failed(words, next="correct that, then verify the snapshot again", page=scratch.PAGE, verdict="inconclusive") from None


def _redis(store: ObjectStore, copied: RedisSnapshot, show: Show) -> tuple[float, Comparison]:
    began = time.monotonic()
    compared = prove_redis(copied, store, reporter("verify", copied.host, show))
    return round(time.monotonic() - began, 3), compared


def _make_roles(server: Scratch, wanted: list[Role]) -> None:
    """Make the roles as they were, without passwords: nobody can log in, and the throw-away server's own superuser stays."""
    with server.connect() as connection:
        known = {str(row[0]) for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in wanted:
            verb = "ALTER" if role.name in known else "CREATE"
            made = sql.SQL("{} ROLE {} {}").format(sql.SQL(verb), sql.Identifier(role.name), sql.SQL(role.attributes))
            connection.execute(made)
        for role in wanted:
            for group in role.member_of:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role.name)))
            for setting in role.settings:
                key, _, value = setting.partition("=")
                put = sql.SQL("ALTER ROLE {} SET {} TO {}")
                connection.execute(put.format(sql.Identifier(role.name), sql.Identifier(key), sql.Literal(value)))


def _version(server: Scratch) -> str:
    with server.connect() as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""


def _said(compared: Comparison | None, findings: list[str], host: str) -> str:
    wrong = [one for one in findings if one.startswith(f"{host}: ")]
    if compared is None or wrong or not compared.equal:
        first = (wrong or (compared.differences if compared else []) or ["nothing was compared"])[0]
        return f"failed: {first}"
    return f"done: {compared.rows:,} rows equal, 0 findings"


def _line(step: str, host: str, text: str, seconds: float | None) -> dict[str, Any]:
    return {"step": step, "host": host, "text": text, "rate": seconds}
