"""The checklist as Markdown, HTML and JSON: three faces of one content."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jinja2

from rollout.checklist import charts, document, summary
from rollout.environment import Environment
from rollout.objectstore import ObjectStore
from rollout.order import RunState

TEMPLATES = Path(__file__).parents[1] / "templates"
Format = Literal["md", "html", "json"]
FORMATS: tuple[Format, ...] = ("md", "html", "json")


def render(content: dict[str, Any], form: Format) -> str:
    """Return a built checklist in one of FORMATS."""
    if form == "json":
        return json.dumps(content, indent=1, allow_nan=False) + "\n"
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=form == "html",  # noqa: S701  (the other one is Markdown)
    )
    loader.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    loader.filters["number"] = _number
    loader.filters["moment"] = _moment
    loader.globals["phase_names"] = summary.PHASES
    loader.filters["css"] = lambda word: str(word).replace(" ", "-")
    drawn = {"charts": _charts(content)} if form == "html" else {}
    return loader.get_template(f"checklist.{form}.j2").render(content | drawn)


def write(
    environment: Environment, store: ObjectStore, state: RunState, folder: Path, *, fresh: bool = False
) -> dict[Format, Path]:
    """Render the checklist into a folder in every format; return the paths.

    A rollback has a checklist of its own: what it proves must not be overwritten when the run goes on.
    """
    content = document.build(environment, store, state, fresh=fresh)
    name = "rollback-checklist" if state.rolled_back else "checklist"
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[Format, Path] = {form: folder / f"{name}.{form}" for form in FORMATS}
    for form, path in paths.items():
        path.write_text(render(content, form))
    return paths


def _charts(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "kpis": [charts.before_and_after(table) for table in content["kpis"]],
        "timeline": [
            ("How much of the traffic the new release (green) served, in percent.", charts.traffic(content)),
            (
                "Of 100 requests 99 were answered within this time. Blue (dashed) is the old release, green (solid) the new one.",
                charts.latency(content, "p99_ms"),
            ),
            ("Half of the requests were answered within this time.", charts.latency(content, "p50_ms")),
            (
                "How long changes of the schema held a lock, the longest ones, and the longest wait of a session behind each.",
                charts.stalls(content),
            ),
        ],
    }


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"


def _moment(at: str | None) -> str:
    """Return an instant (ISO 8601) as people read it: `2026-01-31 04:00:00 UTC`."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""
