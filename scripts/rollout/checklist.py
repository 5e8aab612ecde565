"""The checklist: the seed's items, each with what was measured and where it was seen; nobody types a tick.

An item is `pass` or `fail` only from a measurement of this run; everything else says `not measured` and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml

from rollout import journal
from rollout.engine import changes
from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.order import RunState

TEMPLATES = Path(__file__).with_name("templates")
ITEMS = TEMPLATES / "checklist.yml"
Measured = tuple[str, str]  # the verdict and what was observed


def build(environment: Environment, store: ObjectStore, state: RunState) -> dict[str, Any]:
    """Return the checklist of a run as JSON-native data: phases, items by section, and whether the journal is intact."""
    sections = yaml.safe_load(ITEMS.read_text())
    measured = _measured(environment, state)
    problems = journal.check(store, state.run)
    measured["audit_trail"] = (
        ("fail", "; ".join(problems[:3])) if problems else ("pass", "the journal's hash chain is complete and unbroken")
    )
    for section in sections:
        for item in section["items"]:
            verdict, observed = measured.get(
                item["id"], ("not measured", item.get("why", "nothing measured this in this run"))
            )
            item |= {"verdict": verdict, "observed": observed}
    events = sum(1 for _ in journal.read(store, state.run))
    return {
        "run": state.run,
        "environment": environment.name,
        "operator": state.operator,
        "plan_digest": state.plan_digest,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "phases": [
            {"name": name, **phase.model_dump(mode="json", exclude={"facts"})} for name, phase in state.phases.items()
        ],
        "rolled_back": state.rolled_back.model_dump(mode="json") if state.rolled_back else None,
        "finalized": state.finalized,
        "manifest": state.facts.get("manifest"),
        "traffic_back": state.facts.get("traffic_back"),
        "sections": sections,
        "journal": {"events": events, "problems": problems, "prefix": f"runs/{state.run}/journal/"},
    }


def write(environment: Environment, store: ObjectStore, state: RunState, folder: Path) -> dict[str, Path]:
    """Render the checklist as Markdown and JSON into a folder; return both paths."""
    content = build(environment, store, state)
    # A rollback has a checklist of its own: what it proves must not be overwritten when the run goes on.
    name = "rollback-checklist" if state.rolled_back else "checklist"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"json": folder / f"{name}.json", "markdown": folder / f"{name}.md"}
    paths["json"].write_text(json.dumps(content, indent=1))
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  (the output is Markdown)
    )
    paths["markdown"].write_text(loader.get_template("checklist.md.j2").render(content))
    return paths


def _measured(environment: Environment, state: RunState) -> dict[str, Measured]:
    """Return verdict and observation by item id, for those items that this run measured."""
    found: dict[str, Measured] = {}
    for kpi in _list(state.facts.get("kpis")):
        if kpi["verdict"] != "not measured":
            value = f"{kpi['value']:.3g} {kpi['unit']} (n = {kpi['n']}; target {kpi['target']})"
            found[str(kpi["name"])] = ("pass" if kpi["verdict"] == "met" else "fail", value)
        else:
            found[str(kpi["name"])] = ("not measured", str(kpi["reason"]))
    references: Any = state.facts.get("references")
    if references:
        wrong = int(references["wrong_rows"])
        found["cross_database"] = (
            "pass" if wrong == 0 else "fail",
            f"{references['scanned_rows']:,} references scanned, {wrong:,} point at nothing or at another tenant",
        )
    found["data_integrity"] = _integrity(environment, state)
    staging = [d.host for d in environment.databases if d.host_set == "staging"]
    proofs = _of_last_snapshot(state, "proof")
    places = staging + [r.host for r in environment.redis if r.host_set == "staging"]
    rows, different = (sum(int(p[key]) for p in proofs.values()) for key in ("rows", "differences_total"))
    found["backups"] = _complete(
        places,
        proofs,
        all(p["differences_total"] == 0 and p["tables"] + p["objects"] > 0 for p in proofs.values()),
        f"{len(proofs)} of {len(places)} copies restored and compared, {rows:,} rows and keys, {different} differences",
    )
    rehearsed = _of_last_snapshot(state, "rehearsal")
    found["rollback_rehearsed"] = _complete(
        staging,
        rehearsed,
        True,
        f"forward, back, forward and contract on {len(rehearsed)} of {len(staging)} staging databases",
    )
    return found


def _integrity(environment: Environment, state: RunState) -> Measured:
    """Judge the newest comparison of each live database that has one planned: of this rollback, or since the last one."""
    places = [
        d.host for d in environment.databases if d.host_set == "live" and any(c.rewrites for c in changes.plan(d.tier))
    ]
    back: Any = state.facts.get("traffic_back")
    since = int(back["token"]) if back else 0
    # A rollback that has begun counts its own comparisons alone, and all going forward again makes it void.
    first = since if state.phases["rollback"].attempts else since + 1
    seen = {h: fact for h, fact in _facts(state, "compared").items() if h in places and fact["token"] >= first}
    if not state.phases["rollback"].attempts:
        # Only a rollback may find a database without anything to compare.
        seen = {host: fact for host, fact in seen.items() if fact["changes"]}
    results = [(change, result) for fact in seen.values() for change, result in fact["changes"].items()]
    failed = [str(result["failed"]) for _, result in results if "failed" in result]
    rows = sum(int(result["rows"]) for _, result in results)
    phases = ", ".join(sorted({str(fact["phase"]) for fact in seen.values()}))
    return _complete(
        places,
        seen,
        not failed,
        f"{rows:,} rows of {len(results) - len(failed)} changes compared on {len(seen)} of {len(places)} databases"
        + (f" (phase {phases})" if phases else "")
        + (f"; {'; '.join(failed)}" if failed else ", 0 differ"),
    )


def _complete(places: list[str], seen: Iterable[str], good: bool, observed: str) -> Measured:
    """Return fail for what is bad, pass only when every planned place has a result."""
    if not good:
        return "fail", observed
    return ("pass" if places and set(places) <= set(seen) else "not measured"), observed


def _of_last_snapshot(state: RunState, prefix: str) -> dict[str, Any]:
    """Return facts of phase 1 by host, without those of an attempt before the newest snapshot was begun."""
    begun: Any = state.facts.get("snapshot.token") or 0
    return {host: fact for host, fact in _facts(state, prefix).items() if fact["token"] >= begun}


def _facts(state: RunState, prefix: str) -> dict[str, Any]:
    """Return the run's stamped facts `prefix.<host>` by host; one without a stamp counts as older than any."""
    facts: dict[str, Any] = state.facts
    start = f"{prefix}."
    return {
        name.removeprefix(start): {"token": 0, **value}
        for name, value in facts.items()
        if name.startswith(start) and isinstance(value, dict)
    }


def _list(value: Any) -> list[dict[str, Any]]:
    return list(value) if isinstance(value, list) else []
