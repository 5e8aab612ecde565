"""The rollback plan: what `invoke rollback` would do in this environment, and how long the rehearsal says it takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from rollout.engine import changes
from rollout.environment import TIERS, Environment
from rollout.order import RunState

TEMPLATES = Path(__file__).with_name("templates")


def build(environment: Environment, state: RunState) -> dict[str, Any]:
    """Return the plan as JSON-native data; seconds are the rehearsal's own, and None where it measured nothing."""
    steps: list[dict[str, Any]] = []
    for tier in reversed(TIERS):
        for live, staging in zip(
            reversed(environment.tier(tier)), reversed(environment.tier(tier, "staging")), strict=True
        ):
            measured: Any = state.facts.get(f"rehearsal.{staging.host}") or {}
            for change in reversed(changes.plan(tier)):
                if change.swaps:
                    times = measured.get(change.name, {})
                    steps.append(
                        {
                            "tier": tier,
                            "host": live.host,
                            "change": change.name,
                            "authority": change.declaration.relations or [change.declaration.summary],
                            "revert_seconds": times.get("revert", {}).get("seconds"),
                            "compare_seconds": (times.get("compare") or {}).get("seconds"),
                        }
                    )
    return {
        "run": state.run, "environment": environment.name, "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan_digest": state.plan_digest, "steps": steps, "manifest": state.facts.get("manifest"),
        "blue": [a.host for a in environment.colour("blue")], "green": [a.host for a in environment.colour("green")],
        "seconds": sum((s["revert_seconds"] or 0.0) + (s["compare_seconds"] or 0.0) for s in steps),
    }


def write(plan: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write the plan as JSON and Markdown into a folder; return both paths."""
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  (Markdown)
    )
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / "rollback-plan.json", folder / "rollback-plan.md"
    data.write_text(json.dumps(plan, indent=1))
    text.write_text(loader.get_template("rollback-plan.md.j2").render(plan))
    return {"json": str(data), "markdown": str(text)}
