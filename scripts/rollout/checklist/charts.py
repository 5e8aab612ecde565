"""The charts of the HTML checklist: still SVG from pygal, made to be printed; every one has its table beside it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pygal  # type: ignore[import-untyped]
from pygal.style import Style  # type: ignore[import-untyped]

# Told apart without colour as well: blue is dashed. Contrast against white is 4.5:1 or more.
BLUE, GREEN, GREY, RED = "#1d4ed8", "#15803d", "#57534e", "#b91c1c"
DASHES = {"blue": "6,3", "green": None, "none": "2,2"}
COLOURS = {"blue": BLUE, "green": GREEN, "none": RED}
FONT = "system-ui, sans-serif"
STALLS_MAX = 12
NAMES = {"p50_ms": "Median latency", "p99_ms": "Latency that 99 of 100 requests stay below"}


def traffic(content: dict[str, Any]) -> str:
    """Return the share of traffic on green over time, as steps; empty without a shift."""
    shifts = [e for e in content["timeline"]["events"] if e["kind"] == "traffic"]
    if not shifts:
        return ""
    begin, end = _span(content)
    earlier = [s for s in shifts if _offset(s["at"], begin) < 0]
    points = [(0.0, float(earlier[-1]["percent"]) if earlier else 0.0)]
    for shift in shifts[len(earlier) :]:
        at = _offset(shift["at"], begin)
        points += [(at, points[-1][1]), (at, float(shift["percent"]))]
    points.append((_offset(end, begin), points[-1][1]))
    chart = _xy("Traffic on green, %", [GREEN], range=(0, 100), show_legend=False)
    chart.add("green", points, show_dots=False, stroke_style={"width": 3})
    return _svg(chart)


def latency(content: dict[str, Any], figure: str) -> str:
    """Return a latency (`p50_ms` or `p99_ms`) of each colour over time; empty when the log was not readable."""
    slices = content["timeline"]["latency"]["slices"]
    if not slices:
        return ""
    names = sorted({s["colour"] for s in slices})
    chart = _xy(f"{NAMES[figure]}, ms", [COLOURS[n] for n in names])
    for name in names:
        points = [(s["offset"], s[figure]) for s in slices if s["colour"] == name]
        chart.add(name, points, show_dots=len(points) == 1, stroke_style={"width": 2, "dasharray": DASHES[name]})
    return _svg(chart)


def stalls(content: dict[str, Any]) -> str:
    """Return the longest times that locks were held, the longest first, and how long a session waited behind each."""
    found = sorted((e for e in content["timeline"]["events"] if e["kind"] == "stall"), key=lambda e: -e["held_ms"])[:STALLS_MAX]
    if not found:
        return ""
    chart = pygal.HorizontalBar(**_options("Locks held, and waits behind them, ms", [GREY, RED], 110 + 34 * len(found)))
    found.reverse()  # the first label is drawn at the bottom
    chart.x_labels = [f"{e['change']}, {e['step']}, {e['host']}" for e in found]
    chart.add("held", [e["held_ms"] for e in found])
    chart.add("longest wait", [e["longest_wait_ms"] for e in found])
    return _svg(chart)


def before_and_after(table: dict[str, Any]) -> str:
    """Return the rows of a KPI table that were measured both times, as bars in their unit; empty when there are none."""
    rows = [r for r in table["rows"] if r["before"] is not None and r["after"] is not None]
    units = {r["unit"] for r in rows}
    if not rows or len(units) > 1:
        return ""
    chart = pygal.Bar(**_options(f"{table['title']}, {units.pop()}", [BLUE, GREEN], 270))
    chart.x_labels = [r["metric"] for r in rows]
    chart.add("before", [r["before"] for r in rows])
    chart.add("after", [r["after"] for r in rows])
    return _svg(chart)


def _span(content: dict[str, Any]) -> tuple[str, str]:
    events = content["timeline"]["events"]
    first = content["timeline"]["latency"].get("since") or events[0]["at"]
    return first, max(events[-1]["at"], content["timeline"]["latency"].get("until") or "")


def _offset(at: str, begin: str) -> float:
    return (datetime.fromisoformat(at) - datetime.fromisoformat(begin)).total_seconds()


def _xy(title: str, colours: list[str], **options: Any) -> pygal.XY:
    return pygal.XY(**_options(title, colours, 270), x_title="seconds since phase 2 (rollout) last began", **options)


def _options(title: str, colours: list[str], height: int) -> dict[str, Any]:
    style = Style(
        background="#ffffff", plot_background="#ffffff", foreground="#1c1917", foreground_strong="#1c1917",
        foreground_subtle="#a8a29e", colors=tuple(colours), font_family=FONT, opacity="1", title_font_size=17, label_font_size=13,
        major_label_font_size=13, legend_font_size=15, guide_stroke_dasharray="1,4", major_guide_stroke_dasharray="1,4",
    )  # fmt: skip
    return {
        "title": title, "js": [], "disable_xml_declaration": True, "width": 760, "height": height, "style": style,
        "legend_at_bottom": True, "truncate_label": 60, "margin": 12, "max_scale": 6,
    }  # fmt: skip


def _svg(chart: Any) -> str:
    drawn = chart.render(is_unicode=True)
    assert isinstance(drawn, str)
    # It says in words what it shows beside it; a screen reader is spared its hundred parts.
    return drawn.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
