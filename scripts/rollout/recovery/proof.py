"""What came of a recovery that was tried: seconds until the server answered, until when it had everything, what was wrong."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from rollout.objectstore import ObjectStore
from rollout.recovery.records import Base, place


class Tried(BaseModel):
    """One recovery of one host, as far as its log went; `seconds` from the object store to a server that answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    host: str
    base: str
    verdict: Literal["pass", "fail"]
    at: AwareDatetime
    until: AwareDatetime | None = None
    seconds: float
    findings: list[str] = []
    by: str


def write(store: ObjectStore, base: Base, tried: Tried) -> None:
    """Keep the result beside the log; written once."""
    key = f"{place(base.host, base.system_identifier)}proofs/{tried.at:%Y-%m-%dT%H-%M-%S.%fZ}-{tried.verdict}.json"
    store.create(key, tried.model_dump_json(indent=1).encode())


def newest(store: ObjectStore, base: Base) -> Tried | None:
    """Return the last result for the server of a base backup; None when none was tried."""
    key = max(store.keys(f"{place(base.host, base.system_identifier)}proofs/"), default=None)
    return Tried.model_validate_json(store.read(key)[0]) if key else None
