"""What no RDB holds: users, settings, functions and the list of modules, as one object beside it.

Users keep the SHA-256 of their passwords, as the server prints them: without, nobody could log in after a restore.
Settings with a password, and paths and addresses of this very host, are left out.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import redis
from pydantic import BaseModel, ConfigDict, ValidationError

from rollout import environment
from rollout.errors import Failed, Refused
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import RedisSnapshot, StoredObject
from rollout.snapshots.redis.client import command, connect

SECRET = re.compile(r"pass|auth$|^masteruser$|^primaryuser$")
# What belongs to a host, a process or its place in a fleet, and not to the content.
OF_THE_HOST = re.compile(
    r"^(dir|port|bind|bind-source-addr|pidfile|logfile|unixsocket.*|dbfilename|append(file|dir)name|aclfile|daemonize"
    r"|supervised|syslog.*|crash-.*|tls-.*|cluster-.*|replicaof|slaveof|.*announce.*|server_cpulist|.*cpulist"
    r"|proc-title-template|set-proc-title|io-threads.*|rdma-.*|always-show-logo|oom-score.*|socket-mark-id|databases)$"
)
BUILT_IN = {"lua"}  # Valkey 9 lists its script engine; it holds no keys
Part = Literal["users", "settings", "functions"]
PARTS: tuple[Part, ...] = ("users", "settings", "functions")


class Beside(BaseModel):
    """The object: `users` as ACL LIST prints them, `settings` by name, `functions` a FUNCTION DUMP in base64 (empty:
    none, or older than functions are), `modules` by name with their versions; `unknown`: what the server would not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["penguin-rollout redis beside 1"] = "penguin-rollout redis beside 1"
    users: list[str]
    settings: dict[str, str]
    functions: str
    modules: dict[str, int]
    unknown: list[str]


def read(client: redis.Redis) -> Beside:
    """Return what a server tells of itself; what it refuses is named in `unknown`."""
    unknown: list[str] = []

    def asked(what: str, *words: str) -> Any:
        try:
            return command(client, *words)
        except redis.ResponseError as error:
            unknown.append(f"{what}: {str(error)[:100]}")
            return None

    users = [_text(line) for line in asked("users", "ACL", "LIST") or []]
    settings = {_text(k): _text(v) for k, v in _pairs(asked("settings", "CONFIG", "GET", "*"))}
    functions = asked("functions", "FUNCTION", "DUMP") or b""
    modules = [dict(_pairs(module)) for module in asked("modules", "MODULE", "LIST") or []]
    return Beside(
        users=users,
        settings={k: v for k, v in sorted(settings.items()) if not SECRET.search(k)},
        functions=base64.b64encode(functions).decode(),
        modules={_text(m.get(b"name", m.get("name"))): int(m.get(b"ver") or m.get("ver") or 0) for m in modules},
        unknown=unknown,
    )


def put(store: ObjectStore, key: str, about: Beside, retain_until: datetime | None = None) -> StoredObject:
    """Store it and return where; the key must be new."""
    stored = store.upload(key, io.BytesIO(about.model_dump_json(indent=1).encode()), retain_until=retain_until)
    return StoredObject(key=stored.key, version_id=stored.version_id, sha256=stored.sha256, size=stored.size)


def get(snapshot: RedisSnapshot, store: ObjectStore) -> Beside:
    """Return what stands beside a snapshot; raise Failed when its bytes are not those that were stored."""
    body = io.BytesIO()
    stored = snapshot.beside
    store.download(stored.key, body, stored.sha256, version_id=stored.version_id or None)
    try:
        return Beside.model_validate_json(body.getvalue())
    except ValidationError as error:
        raise Failed(f"{stored.key} cannot be understood: {error.errors()[0]['msg']}", next="use another") from None


def restore(
    snapshot: RedisSnapshot, store: ObjectStore, target: environment.Redis, parts: Iterable[Part] = PARTS
) -> list[str]:
    """Give a fresh server the snapshot's users, settings and functions, and return what it did not take.

    Users that it has beyond those stay, and so does the user that we are, until the end. Raise Refused for a live server.
    """
    if target.host_set == "live":
        raise Refused(
            f"{target.host} is of the host set 'live'",
            limit="users and settings go to fresh servers",
            next=f"read {snapshot.beside.key}, and change what you want by hand",
            page="runbooks/restore.md",
        )
    about, left = get(snapshot, store), []
    with connect(target) as client:
        if "functions" in parts and about.functions:
            left += _try(client, "functions", "FUNCTION", "RESTORE", base64.b64decode(about.functions), "REPLACE")
        if "settings" in parts:
            have = read(client).settings
            for name, value in about.settings.items():
                if have.get(name) != value and not OF_THE_HOST.match(name):
                    left += _try(client, f"setting {name}", "CONFIG", "SET", name, value)
        if "users" in parts:
            me = target.user or "default"
            for line in sorted(about.users, key=lambda line: line.split(" ")[1] == me):
                _, name, *rules = line.split(" ")
                left += _try(client, f"user {name}", "ACL", "SETUSER", name, "reset", *rules)
    return left


def restore_functions(client: redis.Redis, functions: str) -> None:
    """Load a dump of functions (base64); raise Failed when the server does not take it."""
    left = _try(client, "functions", "FUNCTION", "RESTORE", base64.b64decode(functions), "REPLACE")
    if left:
        raise Failed(f"the server did not take the {left[0]}", next="run a server that has functions (7.0 or newer)")


def differences(snapshot: RedisSnapshot, store: ObjectStore, target: environment.Redis) -> list[str]:
    """Return what of users, settings (other than the host's own), functions and modules is not the snapshot's."""
    about = get(snapshot, store)
    with connect(target) as client:
        found = read(client)
    ours, theirs = ({line.split(" ")[1]: line for line in side.users} for side in (about, found))
    said = [
        f"user {n} is not the snapshot's" for n in sorted(ours.keys() | theirs.keys()) if ours.get(n) != theirs.get(n)
    ]
    said += [
        f"setting {name} is {found.settings.get(name)!r}, the snapshot's {value!r}"
        for name, value in about.settings.items()
        if not OF_THE_HOST.match(name) and found.settings.get(name) != value
    ]
    if about.functions != found.functions:
        said.append("functions are not the snapshot's")
    said += [f"module {name} is missing" for name in about.modules if name not in found.modules]
    return said


def require_modules(snapshot: RedisSnapshot, client: redis.Redis, host: str) -> None:
    """Raise Refused when a server lacks a module that the snapshot's had: its keys could not be read."""
    wanted = set(snapshot.modules) - BUILT_IN
    missing = sorted(wanted - set(read(client).modules)) if wanted else []
    if missing:
        raise Refused(
            f"{host} has no module {', '.join(missing)}", limit="the snapshot's modules", next="load them there first"
        )


def _try(client: redis.Redis, what: str, *words: str | bytes) -> list[str]:
    try:
        command(client, *words)
    except redis.ResponseError as error:
        return [f"{what}: {str(error)[:100]}"]
    return []


def _pairs(answer: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(answer, dict):
        return answer.items()
    return zip(answer[::2], answer[1::2], strict=True) if answer else ()


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
