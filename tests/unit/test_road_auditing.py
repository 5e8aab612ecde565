"""The step that seals the audit trail: it never stands in a rollback's way, and elsewhere a broken trail stops the phase."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from rollout.audit import evidence
from rollout.audit.chain import Leaf, Place, follow
from rollout.audit.evidence import Evidence
from rollout.audit.log import Tail
from rollout.audit.sealing import Seal
from rollout.audit.verification import Verdict, Wrong
from rollout.engine import ledger
from rollout.errors import Failed, Fenced
from rollout.road.auditing import seal_audit

LOG = UUID("6f0f2f0e-3a57-4c39-9f1c-7f6a2b1f0a11")
BLOCK = follow(LOG, None, Place(1, 1), [Leaf(1, bytes(32))], datetime(2026, 11, 25, tzinfo=UTC))


class Context:
    """A worker's context, as far as this step goes."""

    def __init__(self, phase: str) -> None:
        self.phase, self.facts, self.store = phase, dict[str, Any](), None
        self.environment = SimpleNamespace(database=lambda host: SimpleNamespace(tier="queue"))

    def set_fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

    def stamp(self) -> dict[str, Any]:
        return {"phase": self.phase, "token": 1}


def sealed(monkeypatch: pytest.MonkeyPatch, answer: Evidence | Exception | None) -> None:
    """Have the database answer so."""

    @contextmanager
    def connect(database: Any) -> Iterator[None]:
        yield

    def seal(connection: Any, store: Any, host: str, *, verified: bool) -> Evidence | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ledger, "connect", connect)
    monkeypatch.setattr(evidence, "seal", seal)


def found(wrong: Wrong | None) -> Evidence:
    verdict = Verdict(str(LOG), 1, 1, 1, BLOCK.hash.hex(), Tail(0, 0.0), 0.1, wrong)
    return Evidence(Seal(LOG, 1, 1, BLOCK, Tail(2, 3.0), 0.1), "audit/pg-queue-1/x", [], verdict)


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), Failed("the object store did not answer", next="")])
def test_a_rollback_goes_on_without_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A database or store that is away is told and journaled, and stops no rollback; any other phase it does."""
    sealed(monkeypatch, error)
    assert "not sealed" in seal_audit(Context("rollback"), "pg-queue-1")["say"]  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        seal_audit(Context("2"), "pg-queue-1")  # type: ignore[arg-type]


def test_who_is_fenced_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a rollback: another runner is at work."""
    sealed(monkeypatch, Fenced("token", next=""))
    with pytest.raises(Fenced):
        seal_audit(Context("rollback"), "pg-queue-1")  # type: ignore[arg-type]


def test_the_head_is_a_fact_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block, hash and key of the head, and the verdict, for the checklist; nothing where there is no trail."""
    context = Context("3")
    sealed(monkeypatch, found(None))
    told = seal_audit(context, "pg-queue-1", verify=True)  # type: ignore[arg-type]
    assert told["say"] == f"sealed 1 rows; head 1 {BLOCK.hash.hex()[:12]}; unsealed 2; 1 rows verified"
    fact = context.facts["audit.pg-queue-1"]
    assert (fact["block"], fact["hash"], fact["verdict"]["verdict"]) == (1, BLOCK.hash.hex(), "pass")
    sealed(monkeypatch, None)
    assert seal_audit(Context("3"), "pg-queue-1")["say"] == "no audit trail here"  # type: ignore[arg-type]


def test_a_broken_trail_stops_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded first: the checklist says fail, and which row."""
    context = Context("finalize")
    sealed(monkeypatch, found(Wrong("edited", 1, 1, "row 1 was edited (block 1)")))
    with pytest.raises(Failed, match="row 1 was edited"):
        seal_audit(context, "pg-queue-1", verify=True)  # type: ignore[arg-type]
    assert context.facts["audit.pg-queue-1"]["verdict"]["wrong"]["row"] == 1
