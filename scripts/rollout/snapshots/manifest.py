"""The manifest of a snapshot: written last and once, so that a snapshot without one does not exist."""

from __future__ import annotations

import uuid

from pydantic import ValidationError

from rollout.errors import Failed, Refused
from rollout.objectstore import NotFound, ObjectStore
from rollout.snapshots.records import DatabaseSnapshot, Manifest, RedisSnapshot, now

ROOT = "snapshots/"
NAME = "manifest.json"
CLOCKS_SECONDS = 300


def require_same_clock(store: ObjectStore) -> None:
    """Raise Refused when store and runner do not agree on the time: names, locks and retention of snapshots rest on it."""
    ahead = (store.now() - now()).total_seconds()
    if abs(ahead) > CLOCKS_SECONDS:
        raise Refused(
            f"the object store's clock is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the runner's",
            limit=f"{CLOCKS_SECONDS} s",
            next="set the wrong one by NTP, then give the same command again",
            page="runbooks/snapshots.md",
        )


def new_prefix() -> str:
    """Return the prefix of a new attempt; they sort by time, and none is ever used twice."""
    return f"{ROOT}{now():%Y-%m-%dT%H-%M-%S.%fZ}-{uuid.uuid4().hex[:4]}"


def commit(
    store: ObjectStore, prefix: str, databases: list[DatabaseSnapshot], redis: list[RedisSnapshot], **about: str
) -> Manifest:
    """Make the snapshot exist; `about`: environment, run, who, why and marker of it. Raise AlreadyExists when this prefix has a
    manifest, Failed when an object is missing or foreign to it."""
    prefix = prefix.rstrip("/")
    manifest = Manifest.model_validate(
        {"key": f"{prefix}/{NAME}", "prefix": prefix, "created_at": now(), "databases": databases, "redis": redis, **about}
    )
    for stored in manifest.objects():
        if not stored.key.startswith(f"{prefix}/") or not store.exists(stored.key):
            raise Failed(f"{stored.key} is not an object of {prefix}", next="take the snapshot again")
    store.create(manifest.key, manifest.model_dump_json(indent=1).encode())
    return manifest


def load(store: ObjectStore, key: str) -> Manifest:
    """Return the manifest at `key`; raise NotFound when there is none, Failed when it cannot be understood."""
    data, _ = store.read(key)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise Failed(
            f"the manifest {key} is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}",
            next="take a new snapshot",
        ) from None


def latest(store: ObjectStore) -> Manifest:
    """Return the newest snapshot that exists; raise NotFound when there is none."""
    newest = max((key for key in store.keys(ROOT) if key.endswith(f"/{NAME}")), default=None)
    if newest is None:
        raise NotFound("the object store holds no snapshot", next="invoke deploy --phase 1", page="runbooks/restore.md")
    return load(store, newest)


def unfinished(store: ObjectStore) -> list[str]:
    """Return the prefixes of attempts that never became a snapshot; their objects stay until their lock ends."""
    whole: dict[str, bool] = {}
    for key in store.keys(ROOT):
        prefix = ROOT + key.removeprefix(ROOT).partition("/")[0]
        whole[prefix] = whole.get(prefix, False) or key == f"{prefix}/{NAME}"
    return [prefix for prefix, exists in whole.items() if not exists]
