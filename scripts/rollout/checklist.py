"""The checklist: the seed's items, each with what was measured and where it was seen; nobody types a tick.

An item is `pass` or `fail` only from a measurement of this run; everything else says `not measured` and why.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import yaml

from rollout import journal
from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.order import RunState

TEMPLATES = Path(__file__).with_name("templates")
ITEMS = TEMPLATES / "checklist.yml"
Item = dict[str, Any]


def build(environment: Environment, store: ObjectStore, state: RunState) -> dict[str, Any]:
    """Return the checklist of a run as JSON-native data: phases, items by section, and whether the journal is intact."""
    sections = yaml.safe_load(ITEMS.read_text())
    measured = _measured(state)
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


def _measured(state: RunState) -> dict[str, tuple[str, str]]:
    """Return verdict and observation by item id, for those items that this run measured."""
    found: dict[str, tuple[str, str]] = {}
    for kpi in _list(state.facts.get("kpis")):
        if kpi["verdict"] != "not measured":
            value = f"{kpi['value']:.3g} {kpi['unit']} (n = {kpi['n']}; target {kpi['target']})"
            found[str(kpi["name"])] = ("pass" if kpi["verdict"] == "met" else "fail", value)
        else:
            found[str(kpi["name"])] = ("not measured", str(kpi["reason"]))
    facts: dict[str, Any] = state.facts  # JSON, read here as what its writers wrote
    compared = {
        k.removeprefix("compared."): v for k, v in facts.items() if k.startswith("compared.") and isinstance(v, dict)
    }
    tables = [
        (change, result) for host in compared.values() for change, result in host.items() if isinstance(result, dict)
    ]
    if tables:
        rows = sum(int(result["rows"]) for _, result in tables)
        differing = sum(len(result["differing"]) for _, result in tables)
        found["data_integrity"] = (
            "pass" if differing == 0 else "fail",
            f"{rows:,} rows of {len(tables)} changes compared, {differing} differ",
        )
    references: Any = state.facts.get("references")
    if references:
        wrong = int(references["wrong_rows"])
        found["cross_database"] = (
            "pass" if wrong == 0 else "fail",
            f"{references['scanned_rows']:,} references scanned, {wrong:,} point at nothing or at another tenant",
        )
    proofs = [v for k, v in facts.items() if k.startswith("proof.") and isinstance(v, dict)]
    if proofs:
        rows = sum(int(p["rows"]) for p in proofs)
        different = sum(int(p["differences_total"]) for p in proofs)
        found["backups"] = (
            "pass" if different == 0 else "fail",
            f"{len(proofs)} copies restored and compared, {rows:,} rows and keys, {different} differences",
        )
    rehearsed = [k for k in state.facts if k.startswith("rehearsal.")]
    if rehearsed:
        found["rollback_rehearsed"] = (
            "pass",
            f"forward, back, forward and contract on {len(rehearsed)} staging databases",
        )
    return found


def _list(value: Any) -> list[dict[str, Any]]:
    return list(value) if isinstance(value, list) else []
