"""The verdict on a snapshot, beside its manifest: what was restored from it, where, and how it compared. Written once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rollout.errors import Failed
from rollout.objectstore import ObjectStore
from rollout.snapshots.records import Comparison, Manifest, now

FOLDER = "proofs/"


class Proof(BaseModel):
    """One verification of a snapshot. `manifest_sha256`: of the manifest's bytes as they were read for it.

    `comparisons`: by the host that was snapshot; `findings`: what is wrong beyond a difference (an invalid index, a damaged
    page); `where`: on which servers it was restored. `recovered_seconds`: by host, from the object store to a server that
    answers, as a real restore would take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    snapshot: str
    manifest_sha256: str
    verdict: Literal["pass", "fail"]
    verified_at: datetime
    by: str
    where: str
    run: str = ""
    seconds: float
    recovered_seconds: dict[str, float] = {}
    comparisons: dict[str, Comparison]
    findings: list[str] = []
    tools: dict[str, str] = {}

    @property
    def differences(self) -> int:
        """Return in how many places the copies differ."""
        return sum(one.differences_total for one in self.comparisons.values())


def judge(manifest: Manifest, comparisons: dict[str, Comparison], findings: list[str]) -> Literal["pass", "fail"]:
    """Say whether every part of a snapshot was compared and equal, with nothing else found; a part left out is no pass."""
    parts = {one.origin.host for one in manifest.databases} | {one.host for one in manifest.redis}
    equal = {host for host, one in comparisons.items() if one.equal}
    return "pass" if parts and parts == equal == set(comparisons) and not findings else "fail"


def write(store: ObjectStore, manifest: Manifest, proof: Proof) -> str:
    """Store a proof and return its key; raise AlreadyExists for one of the same instant."""
    key = f"{manifest.prefix}/{FOLDER}{proof.verified_at:%Y-%m-%dT%H-%M-%S.%fZ}-{proof.verdict}.json"
    store.create(key, proof.model_dump_json(indent=1).encode())
    return key


def of(store: ObjectStore, manifest: Manifest) -> Iterator[Proof]:
    """Yield the proofs of a snapshot, the oldest first; raise Failed for one that cannot be read or is of another manifest."""
    digest = sha256_of(store, manifest)
    for key in store.keys(f"{manifest.prefix}/{FOLDER}"):
        try:
            found = Proof.model_validate_json(store.read(key)[0])
        except ValidationError as error:
            first = error.errors()[0]
            raise Failed(
                f"the proof {key} is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}",
                next="verify the snapshot again",
            ) from None
        if found.manifest_sha256 != digest or found.snapshot != manifest.id:
            raise Failed(
                f"the manifest of {manifest.id} is not the one that was proven at {found.verified_at:%Y-%m-%d %H:%M} UTC",
                limit=f"SHA-256 {found.manifest_sha256[:16]}, found {digest[:16]}",
                next="do not use this snapshot, keep it for the inquiry, and take a new one",
                page="runbooks/snapshots.md#tampered",
            )
        yield found


def newest(store: ObjectStore, manifest: Manifest) -> Proof | None:
    """Return the last verdict on a snapshot, None when there is none: an older pass counts no more after a fail."""
    return max(of(store, manifest), key=lambda one: one.verified_at, default=None)


def sha256_of(store: ObjectStore, manifest: Manifest) -> str:
    """Return the SHA-256 of a manifest's bytes in the store."""
    return hashlib.sha256(store.read(manifest.key)[0]).hexdigest()


def made(
    manifest: Manifest, digest: str, comparisons: dict[str, Comparison], findings: list[str], *, by: str, where: str,
    seconds: float, run: str = "", recovered: dict[str, float] | None = None, tools: dict[str, str] | None = None,
) -> Proof:
    """Return the proof that comes of what was compared and found."""
    return Proof(
        snapshot=manifest.id, manifest_sha256=digest, verdict=judge(manifest, comparisons, findings), verified_at=now(), by=by,
        where=where, run=run, seconds=round(seconds, 3), recovered_seconds=recovered or {}, comparisons=comparisons,
        findings=findings, tools=tools or {},
    )  # fmt: skip
