"""Preflight: whether every part can carry a rollout, asked before anything is written."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from rollout import preflight_schema, traffic
from rollout.engine import changes
from rollout.environment import TIERS, Application, Database, Environment, Redis
from rollout.errors import BadInput
from rollout.haproxy import Client
from rollout.objectstore import ObjectStore
from rollout.snapshots.redis.client import connect as connect_redis

OLDEST_POSTGRES = 150000
MAINTENANCE = "postgres"
ROLE = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS shown,
    pg_has_role(current_user, 'pg_monitor', 'member') AS monitors,
    has_database_privilege(current_database(), 'CREATE') AS creates,
    (SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user) AS creates_databases,
    (SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_roles WHERE rolname = ANY (%s)) AS app_roles,
    pg_is_in_recovery() AS replica
"""
Finding = dict[str, Any]


def check(environment: Environment, store: ObjectStore) -> list[Finding]:
    """Return a finding a check: name, verdict (pass, fail, inconclusive), observed, limit. Nothing is raised."""
    return list(_all(environment, store))


def require_disk(environment: Environment) -> None:
    """Raise BadInput when the runner's disk is too small; asked before a run begins, since nothing can be kept then."""
    enough, observed = _disk(environment)
    if not enough:
        raise BadInput(
            f"the disk of {environment.artifacts} has {observed}",
            limit=f"{environment.settings.disk_free_min_gib:g} GiB",
            next="free some space, or lower disk_free_min_gib in the inventory",
            page="runbooks/deploy.md#preflight",
        )


def _all(environment: Environment, store: ObjectStore) -> Iterator[Finding]:
    yield _ask(
        "plan", "every change of every tier is declared and ordered", lambda: (True, f"digest {changes.digest()[:12]}")
    )
    yield _ask("disk", f"{environment.settings.disk_free_min_gib:g} GiB free", lambda: _disk(environment))
    for tier in TIERS:
        live, staging = environment.tier(tier), environment.tier(tier, "staging")
        yield _ask(
            f"hosts of {tier}",
            "as many staging hosts as live ones",
            lambda a=live, b=staging: (len(a) == len(b), f"{len(a)} live, {len(b)} staging"),  # type: ignore[misc]
        )
    for database in environment.databases:
        yield _ask(
            f"database {database.host}",
            "Postgres >= 15, primary; the runner may create and monitor",
            lambda d=database: _database(d),  # type: ignore[misc]
        )
    for database in environment.databases:
        if database.host_set == "live":
            yield _ask(
                f"schema {database.host}",
                "nothing that the new relations would not carry",
                lambda d=database: preflight_schema.check(d),  # type: ignore[misc]
            )
    for server in environment.redis:
        yield _ask(f"redis {server.host}", "answers", lambda r=server: _redis(r))  # type: ignore[misc]
    yield _ask("traffic", "blue up with all of the traffic", lambda: _traffic(environment))
    for application in environment.colour("blue"):
        yield _ask(f"application {application.host}", "answers on every tier", lambda a=application: _application(a))  # type: ignore[misc]
    try:
        yield from (
            {"name": f"object store: {f.name}", "verdict": f.verdict, "observed": f.observed, "limit": f.limit}
            for f in store.probe()
        )
    except Exception as error:  # noqa: BLE001  an unanswered check is inconclusive, whatever the reason
        yield {"name": "object store", "verdict": "inconclusive", "observed": _line(error), "limit": "answers"}


def _ask(name: str, limit: str, question: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        passed, observed = question()
    except Exception as error:  # noqa: BLE001  an unanswered check is inconclusive, whatever the reason
        return {"name": name, "verdict": "inconclusive", "observed": _line(error), "limit": limit}
    return {"name": name, "verdict": "pass" if passed else "fail", "observed": observed, "limit": limit}


def _disk(environment: Environment) -> tuple[bool, str]:
    folder = Path(environment.artifacts)
    folder.mkdir(parents=True, exist_ok=True)
    free = psutil.disk_usage(str(folder)).free / 2**30
    return free >= environment.settings.disk_free_min_gib, f"{free:.1f} GiB free"


def _database(database: Database) -> tuple[bool, str]:
    # A staging database is replaced by the restore, and one that was interrupted may have left none: its server is asked.
    asked = database if database.host_set == "live" else database.model_copy(update={"dbname": MAINTENANCE})
    with psycopg.connect(asked.conninfo(), autocommit=True) as connection:
        row = connection.execute(ROLE, (database.app_roles,)).fetchone()
    assert row is not None
    version, shown, monitors, creates, creates_databases, app_roles, replica = row
    wrong = [
        words
        for bad, words in (
            (version < OLDEST_POSTGRES, "too old"),
            (not monitors, f"{database.user} is no member of pg_monitor"),
            (database.host_set == "live" and not creates, f"{database.user} may not create schemas"),
            *((role not in app_roles, f"no role {role}") for role in database.app_roles),
            (database.host_set == "staging" and not creates_databases, f"{database.user} may not create databases"),
            (replica, "a replica"),
        )
        if bad
    ]
    return not wrong, f"Postgres {shown}" + "".join(f", {w}" for w in wrong)


def _redis(server: Redis) -> tuple[bool, str]:
    client = connect_redis(server)
    try:
        return bool(client.ping()), f"{client.dbsize()} keys"
    finally:
        client.close()


def _traffic(environment: Environment) -> tuple[bool, str]:
    servers = Client.of(environment).servers()
    down = [
        a.haproxy_server for a in environment.colour("blue") if not (s := servers.get(a.haproxy_server)) or not s.up
    ]
    split = traffic.split(environment)
    return not down and split.percent == 0, f"{split.percent:g} % on green" + (
        f"; down: {', '.join(down)}" if down else ""
    )


def _application(application: Application) -> tuple[bool, str]:
    with urllib.request.urlopen(application.url + "/ready", timeout=10) as answer:
        return answer.status == 200, f"/ready {answer.status}"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1][:200]}"
