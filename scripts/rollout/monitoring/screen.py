"""What a look is on the terminal: a table a kind, the worst first, or one line of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollout.monitoring.look import phase_of

WIDE = 200
STYLES = {"fail": "bold red", "inconclusive": "yellow", "pass": "green", "failed": "red", "done": "green"}
ORDER = {"fail": 0, "inconclusive": 1, "pass": 2, "shown": 3}


def look(seen: dict[str, Any], *, as_json: bool) -> None:
    """Print one look; as JSON on one line, so that a watch is a file of lines."""
    if as_json:
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        return
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    green = "traffic not known" if seen["green_percent"] is None else f"{seen['green_percent']:g} % on green"
    run = f"run {seen['run']['run']}  " if seen["run"] else ""
    phase = seen.get("run_error") or phase_of(seen["run"])
    console.print(Text(f"{seen['observed']}  {seen['environment']}  {run}{phase}  {green}", style="bold"))
    if "watch" in seen:
        console.print(Text(_watch(seen["watch"])))
    _table(console, ("host", "probe", "value", "threshold", "severity", "verdict", "detail"), _probes(seen["probes"]), 5)
    _table(console, ("gate", "verdict", "observed", "limit"), _gates(seen["gates"]), 1)
    _table(console, ("open alert", "host", "observed", "threshold", "severity", "raised"), _alerts(seen["alerts"]), None)
    _table(console, ("job", "host", "age", "took", "runs", "failures", "now"), _jobs(seen["jobs"], seen["ran"]), None)
    if seen["open"]:
        console.print(Text(f"critical: {len(seen['open'])}", style="bold red"))
        for line in seen["open"]:
            console.print(Text(f"  {line}", style="red"))
    else:
        console.print(Text("nothing critical is open", style="green"))


def ran(of: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    """Print what a pass did."""
    found = list(of)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    rows = [
        (str(r["job"]), str(r["host"]), str(r["outcome"]), _took(r["seconds"]) if r["outcome"] == "done" else "",
         str(r["why"]) or ", ".join(f"{key} {value:,}" for key, value in r["facts"].items()))
        for r in found
    ]  # fmt: skip
    _table(Console(highlight=False, soft_wrap=True, width=WIDE), ("job", "host", "outcome", "took", "what"), rows, 2)


def duration(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "never"
    for least, size, unit in ((4 * 86400, 86400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(console: Console, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], verdict: int | None) -> None:
    if not rows:
        return
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        style = STYLES.get(row[verdict], "") if verdict is not None else ""
        table.add_row(*(Text(cell, style=style if n == verdict else "") for n, cell in enumerate(row)))
    console.print()
    console.print(table)


def _watch(watch: dict[str, Any]) -> str:
    done = f"watched {duration(watch['watched_seconds'])} of {watch['hours']:g} h, {duration(watch['left_seconds'])} left"
    gaps = f"; interrupted {watch['gaps']} times, {duration(watch['gap_seconds'])} in all" if watch["gaps"] else ""
    store = f"; not written down: {watch['store_error']}" if watch["store_error"] else ""
    return f"{done}; {watch['looks']} looks, {watch['looks_critical']} with something critical{gaps}{store}"


def _probes(probes: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            p["host"], p["probe"], "" if p["value"] is None else f"{p['value']:,g} {p['unit']}",
            "" if p["threshold"] is None else f"{'>' if p['worse'] == 'above' else '<'} {p['threshold']:g} {p['unit']}",
            p["severity"] if p["threshold"] is not None else "", p["verdict"], p["detail"][:80],
        )
        for p in sorted(probes, key=lambda p: ORDER[p["verdict"]])
    ]  # fmt: skip


def _gates(gates: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(g["name"], g["verdict"], g["observed"], g["limit"]) for g in gates]


def _alerts(alerts: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{a['queue']}: {a['title']}", a["host"], f"{a['observed']:g} {a['unit']}", f"> {a['threshold']:g}",
            a["severity"], a["raised_at"],
        )
        for a in alerts
    ]  # fmt: skip


def _jobs(jobs: list[dict[str, Any]], ran: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    now = {(r["host"], r["job"]): f"{r['outcome']}{': ' + r['why'] if r['why'] else ''}" for r in ran}
    return [
        (
            j["job"], j["host"], duration(j["age_seconds"]), "" if j["seconds"] is None else _took(j["seconds"]),
            str(j["runs"]), str(j["failures"]), now.get((j["host"], j["job"])) or j["last_error"] or "",
        )
        for j in jobs
    ]  # fmt: skip


def _took(seconds: float) -> str:
    return f"{seconds:.3f} s"
