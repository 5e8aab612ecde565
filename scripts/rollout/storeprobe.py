"""A preflight of the object store: its promises are tried, not believed.

Stores differ by version in exactly the points that leases and evidence rest on (a create that all racers won was
shipped for years by one of them), so a run asks before it trusts.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from rollout.errors import Failed

if TYPE_CHECKING:
    from rollout.objectstore import ObjectStore

RACERS = 8


class Finding(NamedTuple):
    """One promise: its name, whether it is kept, what was seen, what must be seen."""

    name: str
    verdict: Literal["pass", "fail", "inconclusive"]
    observed: str
    limit: str


def probe(store: ObjectStore) -> list[Finding]:
    """Try every promise under a key of its own, remove that key, and return a finding for each; raise nothing."""
    key = f"probe/{uuid.uuid4().hex}"
    checks: tuple[tuple[str, str, Callable[[ObjectStore, str], str]], ...] = (
        ("versioning", "Enabled", _versioning),
        ("object lock", "Enabled", _object_lock),
        ("create wins once", f"1 winner of {RACERS}", _create_once),
        ("replace needs the newest etag", "stale refused, newest accepted", _replace_newest),
        ("replace needs an object", "refused", _replace_missing),
        ("clock", "a Date in the answer", lambda store, _: "a Date in the answer" if store.now() else ""),
        ("clean up", "nothing left", _remove),
    )
    return [_find(name, limit, check, store, key) for name, limit, check in checks]


def _find(name: str, limit: str, check: Callable[[ObjectStore, str], str], store: ObjectStore, key: str) -> Finding:
    try:
        observed = check(store, key)
    except (Failed, ClientError, BotoCoreError, KeyError, ValueError) as error:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        observed = error.observed if isinstance(error, Failed) else f"{type(error).__name__} {code}".strip()
        return Finding(name, "inconclusive", observed, limit)
    return Finding(name, "pass" if observed == limit else "fail", observed, limit)


def _versioning(store: ObjectStore, key: str) -> str:
    return store.client.get_bucket_versioning(Bucket=store.bucket).get("Status", "off")


def _object_lock(store: ObjectStore, key: str) -> str:
    try:
        answer = store.client.get_object_lock_configuration(Bucket=store.bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ObjectLockConfigurationNotFoundError":
            return "off"
        raise
    return answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled", "off")


def _create_once(store: ObjectStore, key: str) -> str:
    from rollout.objectstore import AlreadyExists

    def create(racer: int) -> int:
        try:
            store.create(key, b"racer %d" % racer)
        except AlreadyExists:
            return 0
        return 1

    with ThreadPoolExecutor(RACERS) as pool:
        winners = sum(pool.map(create, range(RACERS)))
    return f"{winners} winner{'' if winners == 1 else 's'} of {RACERS}"


def _replace_newest(store: ObjectStore, key: str) -> str:
    from rollout.objectstore import Conflict

    _, old = store.read(key)
    new = store.replace(key, b"second", old)
    try:
        store.replace(key, b"third, with the first's etag", old)
    except Conflict:
        store.replace(key, b"third", new)
        return "stale refused, newest accepted"
    return "stale accepted"


def _replace_missing(store: ObjectStore, key: str) -> str:
    from rollout.objectstore import Conflict

    try:
        store.replace(key + "-missing", b"", '"d41d8cd98f00b204e9800998ecf8427e"')
    except Conflict:
        return "refused"
    return "accepted"


def _remove(store: ObjectStore, key: str) -> str:
    """Remove every version; a default retention forbids that, and then a marker must do until it ends."""
    kept = 0
    pages = store.client.get_paginator("list_object_versions").paginate(Bucket=store.bucket, Prefix=store.prefix + key)
    found = [(e["Key"], e["VersionId"]) for p in pages for e in [*p.get("Versions", []), *p.get("DeleteMarkers", [])]]
    for name, version in found:
        try:
            store.client.delete_object(Bucket=store.bucket, Key=name, VersionId=version)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "AccessDenied":
                raise
            kept += 1
    if kept:
        store.client.delete_object(Bucket=store.bucket, Key=store.prefix + key)
    return "nothing left" if not any(store.keys(key)) else "the probe's key is still listed"
