"""Row security there, stopped in its middle, back, there again, and home: at each end the same rows for the same roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from secured import Place
from servers import Server
from walking import walk

from rollout.engine import ledger
from rollout.engine.securing import Securing
from rollout.engine.security import catalogue
from rollout.environment import TIERS


@pytest.fixture(scope="module")
def other(server: Server) -> Place:
    """Four databases as found."""
    return Place.seeded(server)


def facts(place: Place, tier: str) -> dict[str, Any]:
    """Return what row security is made of, for every relation: what has to come back exactly."""
    with ledger.connect(place.databases[tier]) as connection:
        found = catalogue.read(connection)
    return {r.relation: r.model_dump(exclude={"indexed"}) for r in found if not r.extension}

def test_there_stopped_in_the_middle_and_back(other: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a few relations: a revert gives back exactly what was there; the same command goes on; a revert again."""
    on = Securing._on
    for tier in TIERS:
        other.forward(
            tier,
            until="005_row_security"
            if tier == "oltp"
            else {
                "content": "002_content_consolidation",
                "queue": "003_queue_partitioning",
                "olap": "004_olap_performance",
            }[tier],
        )
        if tier == "oltp":
            with other.stages(tier) as stages:
                stages.revert()
        before = facts(other, tier)
        for stop in (1, 4):
            with other.stages(tier) as stages, monkeypatch.context() as patched:
                stages.expand()
                left = iter(range(stop))

                def dies(self: Securing, *given: Any, left: Iterator[int] = left) -> int:
                    if next(left, None) is None:
                        raise KeyboardInterrupt
                    return on(self, *given)

                patched.setattr(Securing, "_on", dies)
                with pytest.raises(KeyboardInterrupt):
                    stages.swap()
            assert facts(other, tier) != before
            with other.stages(tier) as stages:
                assert stages.revert().changed
                assert not stages.revert().changed
            assert facts(other, tier) == before
        for _ in range(2):
            with other.stages(tier) as stages:
                stages.expand()
                stages.swap()
                assert other.failing(tier) == {}
                stages.revert()
            assert facts(other, tier) == before


def test_after_a_rollback_and_after_contract(other: Place) -> None:
    """Everything back, there again, and home: at each end the walk is the same, and nothing fails."""
    for tier in TIERS:
        other.back(tier)
        other.forward(tier)
        assert other.failing(tier) == {}
        walk(other, tier)
        other.home(tier)
        assert other.failing(tier) == {}
        walk(other, tier)
