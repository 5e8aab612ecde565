"""The HTML checklist in a real Chromium: one file, no network, for keyboard, screen reader, phone and paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from rollout.checklist import declared, judging, rendering
from rollout.checklist.attestation import Attestation
from rollout.checklist.probe import Observation, moment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
BEGAN = datetime(2026, 1, 31, 4, tzinfo=UTC)

VERDICT = {"word": "pass", "headline": "The rollout passed, but 5 checks failed", "text": "It is final.", "items": "Of 21, 5."}
MONITORING = {
    "observed": "2026-01-31T04:00:00+00:00", "failed": [],
    "probes": [{"host": "pg-oltp-1", "title": "sessions", "value": v, "unit": "%", "threshold": t, "verdict": w, "detail": "away"}
               for v, t, w in ((2.0, 90.0, "pass"), (None, 1.0, "inconclusive"), (99.0, None, "shown"))],
    "alerts": [{"severity": "high", "title": "jobs", "queue": "email", "host": "pg-queue-1", "observed": 1003.0, "unit": "jobs",
                "threshold": 100.0, "raised_at": "2026-01-31T04:00:00+00:00"}],
}  # fmt: skip


def content() -> dict[str, Any]:
    """Return a checklist with every verdict in it, long words, and a timeline of both colours."""
    found = declared.load()
    kinds = (
        Observation(1.0, 500, "as it should be", "a log", since=1.0, until=2.0),
        Observation(1e9, 500, "far over", "a log with-a-very-long-name-" + "x" * 120),
        Observation(reason="away"),
        Observation(1e9, 500, "little", "a load run", inconclusive="the load was too small"),
    )
    word = Attestation("auto_scaling", "Auditor", "seen <b>", "operator", moment(1.0))
    items = [
        {"group": g.id, **judging.judge(i, kinds[n % 4].to_dict(), word if i.id == word.item else None)}
        for g in found.groups
        for n, i in enumerate(g.items)
    ]
    rows = [
        {"title": t.title, "rows": [{"metric": r.metric, "current": r.current, "target": r.target, "id": r.item, "unit": "ms",
                                     "before": 5.0, "after": 4.0, "verdict": "pass", "observed": ""} for r in t.rows]}
        for t in found.kpis
    ]  # fmt: skip
    at = [(BEGAN + timedelta(seconds=s)).isoformat() for s in range(3)]
    events = [
        {"at": at[0], "kind": "traffic", "percent": 10, "text": "0 % to 10 % on green"},
        {"at": at[1], "kind": "stall", "step": "swap", "host": "h", "change": "002_content_consolidation", "held_ms": 9.0,
         "longest_wait_ms": 3.0, "sessions": 1, "text": "held"},
        {"at": at[2], "kind": "phase_ended", "phase": "2", "text": "2 pass"},
    ]  # fmt: skip
    slices = [
        {"at": at[0], "offset": float(n), "colour": c, "n": 9, "failed": 0, "p50_ms": 3 + n % 2, "p99_ms": 9}
        for n in range(9)
        for c in ("blue", "green")
    ]
    return {
        "run": "2026-01-31T0400Z-1a2b", "environment": "sandbox", "operator": "operator", "plan_digest": "0" * 64,
        "written": at[0], "verdict": VERDICT,
        "figures": [{"label": "Requests", "text": "all of them"}], "monitoring": MONITORING,
        "counts": {"pass": 5, "fail": 5}, "phases": [{"name": "1", "verdict": "pass", "seconds": 1.0, "attempts": 1, "why": ""}],
        "rolled_back": None, "finalized": False, "manifest": "snapshots/x/manifest.json", "traffic_back": None, "items": items,
        "kpis": rows, "criteria": [{"title": g.title, "items": [judging.judge(i, None, None) for i in g.items]}
                                   for g in found.criteria],
        "groups": [{"id": g.id, "title": g.title} for g in found.groups],
        "timeline": {"events": events, "latency": {"slices": slices, "seconds": 1.0, "since": at[0], "until": at[2], "why": ""}},
        "journal": {"events": 3, "problems": [], "prefix": "runs/x/journal/"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, in a browser that reaches nothing but the file."""
    file: Path = tmp_path_factory.mktemp("page") / "checklist.html"
    file.write_text(rendering.render(content(), "html"))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.route("http*://**", lambda route: route.abort())
        opened.goto(file.as_uri())
        yield opened
        browser.close()


def test_nothing_that_assistive_technology_stumbles_over(page: Page) -> None:
    """Axe finds no violation, on a desk and on a phone, where nothing is wider than the screen either."""
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_verdict_is_seen_first_and_evidence_unfolds_by_keyboard(page: Page) -> None:
    """The verdict is within the first screen of a phone; Tab and Enter open an item's evidence; failures are open already."""
    page.set_viewport_size({"width": 360, "height": 640})
    box = page.locator("#verdict").bounding_box()
    assert box is not None and box["y"] + box["height"] < 640
    closed = page.locator("#oltp_response")
    assert not closed.locator("dl").is_visible()
    closed.locator("summary").focus()
    page.keyboard.press("Enter")
    assert closed.locator("dl").is_visible() and "a log" in closed.inner_text()
    page.keyboard.press("Enter")
    assert page.locator("#content_retrieval dl").is_visible()


def test_on_paper_everything_is_unfolded(page: Page) -> None:
    """A print shows the evidence of every item, and nothing is fetched from anywhere."""
    assert not page.locator("#oltp_response dl").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#oltp_response dl").evaluate("e => e.checkVisibility({contentVisibilityAuto: true})")
    box = page.locator("#oltp_response dl").bounding_box()
    assert box is not None and box["height"] > 0
    page.emulate_media(media="screen")
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
