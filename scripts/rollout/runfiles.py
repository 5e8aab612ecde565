"""The two objects of a run in the object store, and how they are read: `runs/current.json`, `runs/<run>/state.json`."""

from __future__ import annotations

from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from rollout.errors import Failed
from rollout.lease import Lease
from rollout.objectstore import NotFound, ObjectStore
from rollout.order import PHASES, PhaseState, RunState

CURRENT = "runs/current.json"
Model = TypeVar("Model", bound=BaseModel)


class Current(BaseModel):
    """What `current.json` holds: also a run's first facts, so that a kill before its state is written loses none."""

    model_config = ConfigDict(extra="forbid")

    environment: str
    run: str
    plan_digest: str
    created: AwareDatetime
    operator: str
    previous: str | None
    token: int
    lease: Lease | None


def read_current(store: ObjectStore) -> tuple[Current, str] | None:
    """Return what `current.json` holds and its ETag, or None when there was never a run."""
    try:
        body, etag = store.read(CURRENT)
    except NotFound:
        return None
    return parse(Current, body, CURRENT), etag


def read_state(store: ObjectStore, found: Current) -> tuple[RunState, str | None]:
    """Return the state and its ETag; a run killed before its state was written has the one it was about to write."""
    key = state_key(found.run)
    try:
        body, etag = store.read(key)
    except NotFound:
        fields = found.model_dump(exclude={"token", "lease"})
        return RunState(**fields, phases={phase: PhaseState() for phase in PHASES}), None
    return parse(RunState, body, key), etag


def parse(model: type[Model], body: bytes, key: str) -> Model:
    """Check an object's bytes against its model; raise Failed with the first thing that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise Failed(
            f"{key} cannot be understood: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            next="use the version of this program that wrote it, or restore the object's last version",
        ) from None


def state_key(run: str) -> str:
    """Return the key of a run's state."""
    return f"runs/{run}/state.json"
