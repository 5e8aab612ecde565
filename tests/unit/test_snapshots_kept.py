"""Which snapshots are found, which count as proven, and which may go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from memorystore import MemoryStore, as_store

from rollout.environment import Environment
from rollout.errors import BadInput, Failed, Refused
from rollout.order import RunState
from rollout.snapshots import catalogue, proof, retention
from rollout.snapshots import manifest as manifests
from rollout.snapshots.records import Comparison, Manifest

DAYS = {"oltp": 90, "content": 180, "queue": 30, "olap": 365}
SHA = "0" * 64


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's clock is the store's."""
    monkeypatch.setattr(manifests, "now", lambda: MemoryStore().clock)


def _database(prefix: str, tier: str) -> dict[str, Any]:
    host = f"pg-{tier}-1"
    part = {"key": f"{prefix}/{tier}/{host}.dump", "version_id": None, "sha256": SHA, "size": 1}
    origin = {
        "host": host, "tier": tier, "dbname": tier, "address": "127.0.0.1", "port": 5432, "system_identifier": "1", "lsn": "0/1",
        "server_version": "18.0", "server_major": 18, "database_bytes": 1, "encoding": "UTF8", "locale_provider": "c",
        "collate": "C", "ctype": "C", "locale": None, "grants": None, "settings": [],
    }  # fmt: skip
    when = dict.fromkeys(("started_at", "finished_at"), "2026-11-22T00:00:00Z")
    return {"origin": origin, "parts": [part], "client_version": "18.0", "compression": "none", **when,
            "contents": {"tables": {}, "sequences": {}, "objects": {}}, "snapshot_held_seconds": 0.1}  # fmt: skip


def _snapshot(store: MemoryStore, days_old: int, tiers: tuple[str, ...] = ("oltp", "queue"), run: str = "") -> Manifest:
    """Put a snapshot of that age into the store."""
    at = store.clock - timedelta(days=days_old)
    prefix = f"snapshots/{at:%Y-%m-%dT%H-%M-%S.%fZ}-0a1b"
    manifest = Manifest.model_validate({
        "key": f"{prefix}/manifest.json", "prefix": prefix, "created_at": at, "run": run,
        "databases": [_database(prefix, tier) for tier in tiers], "redis": [],
    })  # fmt: skip
    for one in manifest.objects():
        store.create(one.key, b"x")
    store.create(manifest.key, manifest.model_dump_json().encode())
    return manifest


def _compared(manifest: Manifest, differences: int = 0) -> dict[str, Comparison]:
    return {
        d.origin.host: Comparison(host="s", tables=1, rows=1, differences_total=differences, differences=[], seconds=1)
        for d in manifest.databases
    }


def _prove(store: MemoryStore, manifest: Manifest, differences: int = 0, findings: tuple[str, ...] = ()) -> proof.Proof:
    digest = proof.sha256_of(as_store(store), manifest)
    made = proof.made(manifest, digest, _compared(manifest, differences), list(findings), by="test", where="here", seconds=1)
    proof.write(as_store(store), manifest, made)
    return made


def _environment() -> Environment:
    settings = type("Settings", (), {"snapshot_retention_days": DAYS})()
    return Environment.model_construct(settings=settings)  # type: ignore[arg-type]


def _plan(store: MemoryStore, run: RunState | None = None) -> set[tuple[str, str | None]]:
    return {(r.id, r.tier) for r in retention.plan(as_store(store), _environment(), run)}


def test_a_proof_needs_every_part_equal_and_nothing_found() -> None:
    """A part that was not compared, a difference, or a finding makes it fail; so does nothing compared at all."""
    store = MemoryStore()
    manifest = _snapshot(store, 1)
    whole = _compared(manifest)
    assert proof.judge(manifest, whole, []) == "pass"
    assert proof.judge(manifest, whole, ["an index is invalid"]) == "fail"
    assert proof.judge(manifest, _compared(manifest, 1), []) == "fail"
    assert proof.judge(manifest, {"pg-oltp-1": whole["pg-oltp-1"]}, []) == "fail"
    assert proof.judge(manifest, {}, []) == "fail"
    nothing = {host: one.model_copy(update={"tables": 0}) for host, one in whole.items()}
    assert proof.judge(manifest, nothing, []) == "fail"


def test_the_last_verdict_counts() -> None:
    """A pass makes it proven, a later fail takes that away."""
    store = MemoryStore()
    old, new = _snapshot(store, 2), _snapshot(store, 1)
    assert [(one.id, one.state) for one in catalogue.every(as_store(store))] == [(new.id, "unproven"), (old.id, "unproven")]
    with pytest.raises(BadInput, match="no snapshot is proven"):
        catalogue.find(as_store(store), "proven")
    _prove(store, old)
    assert catalogue.find(as_store(store), "proven") == old
    assert catalogue.find(as_store(store), "latest") == new
    _prove(store, old, findings=("damaged",))
    assert [one.state for one in catalogue.every(as_store(store))] == ["unproven", "failed"]
    assert catalogue.newest_proof(as_store(store)) is None


def test_a_manifest_that_was_edited_is_unusable() -> None:
    """Its proof was made of other bytes; it is listed as unusable and nobody gets it."""
    store = MemoryStore()
    manifest = _snapshot(store, 1)
    _prove(store, manifest)
    store.objects[manifest.key] = (manifest.model_copy(update={"who": "else"}).model_dump_json().encode(), "e")
    (listed,) = catalogue.every(as_store(store))
    assert listed.state == "unusable"
    assert "not the one that was proven" in listed.wrong
    assert catalogue.newest_proof(as_store(store)) is None
    store.objects[manifest.key] = (manifest.model_copy(update={"prefix": "snapshots/other"}).model_dump_json().encode(), "f")
    with pytest.raises(Failed, match="speaks of"):
        catalogue.find(as_store(store), manifest.id)


def test_each_tier_goes_at_its_time_and_a_whole_snapshot_with_the_last() -> None:
    """30 days of queue, 90 of oltp: first the queue's part, later all of it, manifest first."""
    store = MemoryStore()
    young, middle, old = _snapshot(store, 10), _snapshot(store, 40), _snapshot(store, 100)
    assert _plan(store) == {(middle.id, "queue"), (old.id, None)}
    removals = {r.id: r for r in retention.plan(as_store(store), _environment(), None)}
    assert removals[old.id].keys[0] == old.key
    for removal in removals.values():
        retention.remove(as_store(store), removal)
    assert catalogue.ids(as_store(store)) == [middle.id, young.id]
    assert retention.removed_tiers(as_store(store), middle) == ["queue"]
    assert not any(key.startswith(old.prefix) for key in store.objects)
    assert _plan(store) == set()


def test_the_newest_proven_and_what_a_run_needs_stay() -> None:
    """However old: the newest proven one, and the snapshot of a run that is not finalized."""
    store = MemoryStore()
    older, proven, of_run = _snapshot(store, 900), _snapshot(store, 800), _snapshot(store, 700, run="r")
    _prove(store, older)
    _prove(store, proven)
    run = RunState.model_construct(run="r", finalized=False, facts={})
    assert _plan(store, run) == {(older.id, None)}
    assert _plan(store, run.model_copy(update={"finalized": True})) == {(older.id, None), (of_run.id, None)}


def test_an_attempt_that_never_ended_is_swept_after_two_days() -> None:
    """Its objects have no manifest; one of today may still be at work."""
    store = MemoryStore()
    for days in (0, 3):
        at = store.clock - timedelta(days=days)
        store.create(f"snapshots/{at:%Y-%m-%dT%H-%M-%S.%fZ}-ffff/oltp/x.dump", b"x")
    ((name, tier),) = _plan(store)
    assert name.startswith("2026-11-19")
    assert tier is None


def test_another_clock_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose clock is a year ahead would have everything removed: it is refused."""
    store = MemoryStore()
    _snapshot(store, 1)
    monkeypatch.setattr(manifests, "now", lambda: store.clock - timedelta(days=400))
    with pytest.raises(Refused, match="ahead of the runner's"):
        _plan(store)
