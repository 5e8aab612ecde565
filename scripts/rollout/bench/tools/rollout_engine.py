"""The change engine of this repository: the only place of the bench that knows how it is called and what it reports."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import yaml

from rollout.bench import overhead
from rollout.bench.data import statement
from rollout.bench.server import CLIENT, OWNER
from rollout.bench.subject import TABLE, Measured, Step, Subject
from rollout.engine import changes, ledger
from rollout.engine.stages import Stages
from rollout.environment import ROOT, Database, Settings

CHANGE = "901_bench"
DECLARATION = {
    "change": CHANGE, "kind": "rewrite", "summary": "The table is rewritten as it is.",
    "sources": [{"table": f"public.{TABLE}"}],
}  # fmt: skip
LIMITS = ROOT / "inventories" / "production" / "group_vars" / "all.yml"
SETTLE_SECONDS = 1.0
AFTER = {"copy": "build", "compare": "compared"}  # indexes and constraints, and the notes; the ledger's entry


def rewrite(subject: Subject) -> Measured:
    """Expand, swap, revert, expand and swap again, contract, all under load, within the limits of the production example."""
    server = subject.server
    database = Database(
        host="bench", tier="oltp", host_set="live", address="127.0.0.1", port=server.port, dbname=subject.dbname,
        user=OWNER, passfile=str(server.passfile), app_role=CLIENT,
    )  # fmt: skip
    change = changes.load("oltp", _folder(server.folder / subject.dbname))
    with server.connect(subject.dbname, OWNER) as watching, ledger.connect(database) as connection:
        heard = _Heard(watching)
        stages = Stages(connection, change, ledger.Fence("bench", 1), _limits(), heard)
        began = time.monotonic()
        expanded = stages.expand()
        ready = time.monotonic()
        subject.steps += heard.steps(began, ready)
        with_sync = _cost(subject)
        swaps = [_stage(subject, "swap", stages)]
        with_reverse = _cost(subject)
        reverts = [_stage(subject, "revert", stages)]
        with subject.step("expand again"):
            stages.expand()
        swaps.append(_stage(subject, "swap", stages))
        contract = _stage(subject, "contract", stages)
        afterwards = _cost(subject)
    copies, compared = expanded.facts["copies"], expanded.facts["compared"]
    copy_seconds = sum(c["seconds"] for c in copies)
    assert subject.without is not None
    # A disturbed measurement without the sync would make the sync look cheap: the better of two, before and after it.
    without = subject.without.least(afterwards)
    return Measured(
        rows_per_s=sum(c["rows"] for c in copies) / copy_seconds,
        filled=heard.filled,
        compare_share=compared["seconds"] / copy_seconds,
        write_overhead=with_sync.over(without),
        swap_ms=max(s["held_ms"] for s in swaps),
        rollback_ms=max(r["held_ms"] for r in reverts),
        facts={
            "copy_seconds": round(copy_seconds, 3), "compare_seconds": compared["seconds"],
            "index_seconds": round(sum(s.end - s.start for s in subject.steps if s.name == AFTER["copy"]), 3),
            # The second swap: before the first one the notes of our own bulk writes had to be compared.
            "total_seconds": round(ready - began + swaps[-1]["seconds"], 3),
            "longest_chunk_ms": max(c["longest_ms"] for c in copies),
            "swaps_ms": [s["held_ms"] for s in swaps], "reverts_ms": [r["held_ms"] for r in reverts],
            "contract": contract, "after_swap": with_reverse.over(without),
            "writes": {
                "before": subject.without.to_dict(), "sync": with_sync.to_dict(),
                "reverse_sync": with_reverse.to_dict(), "afterwards": afterwards.to_dict(),
            },
        },
    )  # fmt: skip


class _Heard:
    """Listens to the engine's reports: when each kind of work went on, and what the shadow was while it was filled."""

    def __init__(self, watching: psycopg.Connection[Any]) -> None:
        self._watching = watching
        self._at: dict[str, list[float]] = {}
        self.filled = ""

    def __call__(self, work: str, _rows: int, _rate: float) -> None:
        kind = work.split("_", maxsplit=1)[0]
        if kind == "copy" and not self.filled:
            row = self._watching.execute(statement("shadow_indexes")).fetchone()
            assert row is not None
            self.filled = {row[1]: "all", 1: "key"}.get(row[0], f"{row[0]} of {row[1]} indexes")
        self._at.setdefault(kind, []).append(time.monotonic())

    def steps(self, began: float, ended: float) -> list[Step]:
        """Return the steps between two instants: each kind of work, and what lay before the first and between them."""
        edges: list[tuple[str, float]] = [("expand", began)]
        for kind, instants in self._at.items():
            edges += [(kind, instants[0]), (AFTER[kind], instants[-1])]
        edges.append(("", ended))
        return [Step(name, start, end) for (name, start), (_, end) in pairwise(edges)]


def _stage(subject: Subject, name: str, stages: Stages) -> dict[str, Any]:
    """Run a stage and watch the clients for a while; return its facts."""
    with subject.step(name):
        outcome = getattr(stages, name)()
    with subject.step(f"after {name}"):
        time.sleep(subject.seconds)
    return dict(outcome.to_dict())


def _cost(subject: Subject) -> overhead.Cost:
    """Measure what a write costs now, with the clients sent away meanwhile."""
    subject.load.pause()
    cost = overhead.measure(subject.server, subject.dbname, subject.rows, subject.seconds, subject.seed)
    subject.load.run()
    time.sleep(SETTLE_SECONDS)
    return cost


def _folder(below: Path) -> Path:
    folder = below / CHANGE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "change.yml").write_text(yaml.safe_dump(DECLARATION))
    return folder


def _limits() -> Settings:
    return Settings(**yaml.safe_load(LIMITS.read_text())["rollout_settings"])
