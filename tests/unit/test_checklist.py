"""The checklist passes only what was measured everywhere it was planned, since the last way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memorystore import MemoryStore, as_store
from road_fakes import begin, passed
from traffic_fakes import environment

from rollout import checklist, runs
from rollout.environment import Environment

PROOF = {"rows": 10, "tables": 2, "objects": 0, "differences_total": 0}
GOOD: dict[str, Any] = {"some_change": {"rows": 7}}
BAD: dict[str, Any] = {"some_change": {"rows": 0, "failed": "both sides differ"}}
SWAPPING = ("pg-content-1", "pg-queue-1", "pg-olap-1")


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    """Four live databases, four in staging."""
    base = environment(tmp_path)
    staging = [d.model_copy(update={"host": f"staging-{d.host}", "host_set": "staging"}) for d in base.databases]
    return base.model_copy(update={"databases": base.databases + staging})


def items(memory: MemoryStore, env: Environment) -> dict[str, tuple[str, str]]:
    """Return verdict and observation by item."""
    state = runs.current(as_store(memory))
    assert state is not None
    sections = checklist.build(env, as_store(memory), state)["sections"]
    return {i["id"]: (i["verdict"], i["observed"]) for s in sections for i in s["items"]}


def test_one_result_per_planned_place(env: Environment) -> None:
    """Backups and rehearsal pass with all of four, are not measured with three, and say how many."""
    memory = MemoryStore()
    session = begin(memory, "1")
    session.set_fact("snapshot.token", session.token)
    hosts = [d.host for d in env.databases if d.host_set == "staging"]
    for host in hosts[:3]:
        session.set_fact(f"proof.{host}", {**PROOF, "token": session.token})
        session.set_fact(f"rehearsal.{host}", {"token": session.token})
    found = items(memory, env)
    assert [found[i][0] for i in ("backups", "rollback_rehearsed")] == ["not measured"] * 2
    assert "3 of 4" in found["backups"][1] and "3 of 4" in found["rollback_rehearsed"][1]
    session.set_fact(f"proof.{hosts[3]}", {**PROOF, "token": session.token})
    session.set_fact(f"rehearsal.{hosts[3]}", {"token": session.token})
    assert [items(memory, env)[i][0] for i in ("backups", "rollback_rehearsed")] == ["pass"] * 2
    session.set_fact(f"proof.{hosts[0]}", {**PROOF, "differences_total": 1, "token": session.token})
    assert items(memory, env)["backups"][0] == "fail"
    session.set_fact("snapshot.token", session.token + 1)
    assert items(memory, env)["backups"] == (
        "not measured", "0 of 4 copies restored and compared, 0 rows and keys, 0 differences")  # fmt: skip


def test_a_comparison_that_fails_fails(env: Environment) -> None:
    """Data integrity needs every database that swaps; one that differs makes it fail, whatever the others say."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    session = begin(memory, "3")
    stamp = {"phase": "3", "token": session.token}
    for host in SWAPPING[:2]:
        session.set_fact(f"compared.{host}", {"changes": GOOD, **stamp})
    verdict, observed = items(memory, env)["data_integrity"]
    assert verdict == "not measured" and "2 of 3" in observed
    session.set_fact(f"compared.{SWAPPING[2]}", {"changes": GOOD, **stamp})
    assert items(memory, env)["data_integrity"][0] == "pass"
    session.set_fact(f"compared.{SWAPPING[0]}", {"changes": BAD, **stamp})
    verdict, observed = items(memory, env)["data_integrity"]
    assert verdict == "fail" and "both sides differ" in observed


def test_comparisons_go_stale_with_a_rollback(env: Environment) -> None:
    """A rollback that compared nothing yet does not show the comparisons of phase 3, nor does phase 2 after it."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    session = begin(memory, "3")
    for host in SWAPPING:
        session.set_fact(f"compared.{host}", {"changes": GOOD, "phase": "3", "token": session.token})
    session.passed()
    back = begin(memory, "rollback")
    back.set_fact("traffic_back", {"before": 0, "after": 0, "seconds": 0, "token": back.token})
    assert items(memory, env)["data_integrity"][0] == "not measured"
    for host in SWAPPING:
        back.set_fact(f"compared.{host}", {"changes": GOOD, "phase": "rollback", "token": back.token})
    assert items(memory, env)["data_integrity"][0] == "pass"
    back.passed()
    assert items(memory, env)["data_integrity"][0] == "pass"
    begin(memory, "2")
    assert items(memory, env)["data_integrity"][0] == "not measured"
