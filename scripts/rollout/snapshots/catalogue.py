"""The snapshots that exist: found by name, listed with their proofs, read only when nobody wrote over their manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rollout.errors import BadInput, Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots import manifest as manifests
from rollout.snapshots import proof as proofs
from rollout.snapshots.proof import Proof
from rollout.snapshots.records import Manifest

PAGE = "runbooks/snapshots.md"
LATEST, PROVEN = "latest", "proven"


@dataclass(frozen=True)
class Listed:
    """A snapshot and the last verdict on it, None when there is none. `wrong`: why it or its proofs cannot be read."""

    id: str
    manifest: Manifest | None
    proof: Proof | None
    wrong: str = ""

    @property
    def state(self) -> str:
        """Return proven, failed, unproven or unusable."""
        if self.wrong:
            return "unusable"
        return "unproven" if self.proof is None else "proven" if self.proof.verdict == "pass" else "failed"


def ids(store: ObjectStore) -> list[str]:
    """Return the names of the snapshots that exist, the oldest first."""
    ending = f"/{manifests.NAME}"
    return sorted(k.removeprefix(manifests.ROOT).removesuffix(ending) for k in store.keys(manifests.ROOT) if k.endswith(ending))


def every(store: ObjectStore) -> Iterator[Listed]:
    """Yield the snapshots that exist, the newest first; one that cannot be used says why and stops nobody."""
    for name in reversed(ids(store)):
        try:
            found = load(store, name)
            yield Listed(name, found, proofs.newest(store, found))
        except Failed as error:
            yield Listed(name, None, None, error.observed)


def find(store: ObjectStore, name: str) -> Manifest:
    """Return the snapshot of that name, or the newest (`latest`), or the newest that is proven (`proven`).

    Raises BadInput when there is none, Failed when it cannot be used.
    """
    if name == PROVEN:
        for one in every(store):
            if one.state == "proven" and one.manifest:
                return one.manifest
        raise BadInput("no snapshot is proven", next="invoke snapshot.take --verify", page=PAGE)
    known = ids(store)
    if name == LATEST and known:
        return load(store, known[-1])
    if name in known:
        return load(store, name)
    if not known:
        raise BadInput("the object store holds no snapshot", next="invoke snapshot.take", page=PAGE)
    known_as = f"{LATEST}, {PROVEN}, or a name such as {known[-1]}"
    raise BadInput(f"unknown snapshot {name!r}", limit=known_as, next="invoke snapshot.list")


def load(store: ObjectStore, name: str) -> Manifest:
    """Return a snapshot's manifest; raise Failed when it was written more than once, or is of another place."""
    key = f"{manifests.ROOT}{name}/{manifests.NAME}"
    written = store.versions(key)
    if written is not None and written > 1:
        raise Failed(
            f"the manifest of {name} was written {written} times",
            limit="once: whoever takes a snapshot cannot write over one",
            next="do not use this snapshot; the store keeps the first version for the inquiry",
            page=f"{PAGE}#tampered",
        )
    found = manifests.load(store, key)
    if found.key != key or found.id != name or any(not one.key.startswith(f"{found.prefix}/") for one in found.objects()):
        raise Failed(f"the manifest of {name} speaks of {found.key}", next="do not use this snapshot", page=f"{PAGE}#tampered")
    return found


def newest_proof(store: ObjectStore, *, since: datetime | None = None) -> tuple[Manifest, Proof] | None:
    """Return the newest proven snapshot that was taken after `since`, with its proof; None when there is none."""
    for one in every(store):
        if since is not None and one.manifest and one.manifest.created_at < since:
            return None
        if one.state == "proven" and one.manifest and one.proof:
            return one.manifest, one.proof
    return None
