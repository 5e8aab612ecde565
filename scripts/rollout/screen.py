"""What people see: the lines of a phase as they happen, the state of a run, the servers of a sandbox."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from rollout.environment import Environment
from rollout.monitoring import screen as pages
from rollout.order import COMMANDS, PhaseName, command

if TYPE_CHECKING:
    from rollout.road.phase import Ended

EVERY_SECONDS = 5.0
WIDE = 200  # columns where there is no terminal: a line is a line for grep
NEXT: dict[PhaseName, str] = {
    "1": COMMANDS["2"],
    "2": COMMANDS["3"],
    "3": COMMANDS["finalize"],
    "finalize": "invoke checklist",
    "rollback": COMMANDS["2"],
}
COMMAND = re.compile(
    r"invoke (?:deploy --phase \d|rollback|finalize|status|checklist|(?:monitor|restore|references)(?:\.[a-z]+)?"
    r"|(?:change|snapshot)\.[a-z]+)\b(?! -e)"
)
WORDS = {"finalize": "finalized", "rollback": "rolled back"}


class Lines:
    """Prints work: a line a finished piece, and what is at work below (on a terminal) or every 5 s (elsewhere)."""

    def __init__(self) -> None:
        """Look whether there is a terminal."""
        self.console = Console(highlight=False, soft_wrap=True)
        self.live: Status | None = Status("", console=self.console) if self.console.is_terminal else None
        self.shown = time.monotonic()

    def line(self, said: dict[str, Any]) -> None:
        """Show one line of progress."""
        kind, _, words = str(said["text"]).partition(": ")
        where = f"  {said['step']:<23} {said['host']:<20} "
        if kind == "done":
            self.console.print(Text(f"{where}{_seconds(said['rate']):>8}  {words}"))
        elif kind == "would":
            self.console.print(Text(f"{where}would: {words}"))
        elif kind == "failed":
            self.console.print(Text(f"{where}{'failed':>8}  {words}", style="red"))
        elif kind != "start":
            self._at_work(where, said)

    def close(self) -> None:
        """Give the terminal back, however the phase ended."""
        if self.live:
            self.live.stop()

    def _at_work(self, where: str, said: dict[str, Any]) -> None:
        parts = [str(said["text"])]
        if said.get("done") is not None:
            parts.append(f"{said['done']:,}" + (f" of {said['total']:,}" if said.get("total") else ""))
        if said.get("rate"):
            parts.append(f"{said['rate']:,.0f}/s")
        if said.get("eta_seconds") is not None:
            parts.append(f"about {said['eta_seconds']:.0f} s left")
        words = where + "  ".join(parts)
        if self.live:
            self.live.update(Text(words.strip()))
        elif time.monotonic() - self.shown >= EVERY_SECONDS:
            self.shown = time.monotonic()
            self.console.print(Text(words))


class Screen(Lines):
    """Prints a phase: how it begins, its lines, how it ends."""

    def __init__(self, environment: Environment, phase: PhaseName) -> None:
        """`phase` decides what to propose next."""
        super().__init__()
        self.environment, self.phase = environment, phase

    def head(self, words: str) -> None:
        """Say what begins."""
        self.console.print(Text(f"{self.environment.name}  {words}", style="bold"))
        if self.live:
            self.live.start()

    def foot(self, ended: Ended) -> None:
        """Say how it ended and what comes next."""
        self.close()
        if ended.nothing_to_take_back:
            back = ended.state.rolled_back if ended.state else None
            why = f"rolled back at {back.when:%H:%M} UTC already" if back else "no phase has changed anything"
            self.console.print(f"nothing to take back: {why} ({ended.seconds:.1f} s)")
        elif ended.checklist is None:
            self.console.print("dry run: nothing was changed")
            return
        elif ended.state is not None:
            word = WORDS.get(self.phase, f"phase {self.phase} passed")
            lossless = f", {_lossless(ended)}" if self.phase == "rollback" else ""
            self.console.print(
                f"{word} in {ended.seconds:.1f} s{lossless}\nrun {ended.state.run}\nchecklist: {_shown(ended.checklist)}"
            )
        proven = ended.state is None or ended.state.phases["1"].verdict == "pass"
        following = NEXT[self.phase] if proven else COMMANDS["1"]
        self.console.print(for_environment(f"next: {following}", self.environment.name))


@contextmanager
def lines(*, quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what prints the progress of work that is no phase, a line a finished piece; nothing when `quiet`."""
    page = Lines()
    if page.live and not quiet:
        page.live.start()
    try:
        yield (lambda said: None) if quiet else page.line
    finally:
        page.close()


def for_environment(words: str, name: str) -> str:
    """Complete the commands that a text proposes: followed on production they must not act on the sandbox."""
    return words if name in ("", "sandbox") else COMMAND.sub(rf"\g<0> -e {name}", words)


def status(seen: dict[str, Any], *, as_json: bool) -> None:
    """Print the state of a run."""
    if as_json:
        json.dump(seen, sys.stdout, indent=1)
        print()
        return
    console, run = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE), seen["run"]
    if run is None and "run_error" in seen:
        console.print(Text(f"{seen['environment']}: the run is not known: {seen['run_error']}", style="red"))
        _observed(console, seen)
        return
    if run is None:
        console.print(f"{seen['environment']}: no run has begun\nnext: {COMMANDS['1']}")
        return
    console.print(Text(f"run {run['run']}  {seen['environment']}  by {run['operator']}", style="bold"))
    table = Table("phase", "verdict", "seconds", "why", box=None, pad_edge=False)
    lease = run["lease"]
    for name, phase in run["phases"].items():
        left = phase["verdict"] == "running" and (lease is None or lease["phase"] != name)
        table.add_row(
            name,
            "interrupted" if left else phase["verdict"],
            "" if phase["seconds"] is None else f"{phase['seconds']:.1f}",
            phase["why"],
        )
    console.print(table)
    if run["rolled_back"]:
        console.print(f"rolled back at {run['rolled_back']['when']}: {run['rolled_back']['why']}")
    if lease is not None:
        at_work = f"at work: {command(lease['phase'])} of {lease['operator']} on {lease['host']} (pid {lease['pid']})"
        console.print(f"{at_work} since {lease['since']}")
    _observed(console, seen)
    rejects = seen["rejects"]
    if run["finalized"] or run["no_return"]:
        console.print("rollback: no longer possible, only a restore")
    else:
        console.print(
            "rollback is lossless: "
            + ("not known" if rejects is None else "yes" if rejects == 0 else f"no, {rejects} rows at risk")
        )


def _observed(console: Console, seen: dict[str, Any]) -> None:
    """Print what balancer and ledgers say themselves."""
    green = seen["green_percent"]
    console.print(f"traffic: {f'{green:g} % on green' if green is not None else 'not known: ' + seen['traffic_error']}")
    for database in seen["databases"]:
        told = (
            database.get("error")
            or ", ".join(f"{c} {s or 'not begun'}" for c, s in database["changes"].items())
            or "nothing begun"
        )
        console.print(f"  {database['host']:<16} {told}")
        for line in _of_changes(database):
            console.print(Text(f"  {'':<16} {line}"))


def _of_changes(database: dict[str, Any]) -> Iterator[str]:
    """Yield what is to be known of single changes: whether each can be taken back without loss, what is stale, what is paused."""
    for change, rows in database.get("at_risk", {}).items():
        if database["changes"][change] == "swapped":
            yield f"{change}: rollback is lossless: " + (f"no, {rows:,} rows at risk" if rows else "yes")
        else:
            yield f"{change}: {rows:,} rows were left behind by a rollback; they are in the reject ledger"
    if jobs := database.get("jobs"):
        stalest = max(jobs, key=lambda job: math.inf if job["age_seconds"] is None else job["age_seconds"])
        failing = [f"{job['job']} fails: {job['last_error']}" for job in jobs if job["last_error"]]
        yield "; ".join([f"monitoring: {stalest['job']} is the stalest, {pages.duration(stalest['age_seconds'])}", *failing])
    for change, pause in database.get("paused", {}).items():
        why = f": {pause['why']}" if pause["why"] else ""
        yield f"{change}: paused since {pause['since']} by {pause['who']}{why}"


def servers(found: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the servers of a sandbox."""
    if as_json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    table = Table("host", "kind", "port", "pid", "running", "answering", "log", box=None, pad_edge=False)
    for s in found:
        table.add_row(
            s["host"],
            s["kind"],
            str(s["port"]),
            str(s["pid"] or ""),
            _yes(s["running"]),
            _yes(s["answering"]),
            str(s["log"]),
        )
    Console(highlight=False, soft_wrap=True, width=200).print(table)


def _lossless(ended: Ended) -> str:
    """Say what the reject ledgers held when the schema went back: each database was asked, or it is not known."""
    assert ended.state is not None
    back = ended.state.rolled_back
    if back and back.snapshot:
        return f"to snapshot {back.snapshot}: what was written since is in the replaced databases alone"
    found = [v for k, v in ended.state.facts.items() if k.startswith("rejects.")]
    rows = sum(v for v in found if isinstance(v, int))
    if not found:
        return "not known whether lossless (no reject ledger was read)"
    return f"{'lossless' if rows == 0 else 'NOT lossless'} ({rows} rows in {len(found)} reject ledgers)"


def _shown(path: Path) -> Path:
    """Return a path as one would type it from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _seconds(value: Any) -> str:
    return f"{value:.1f} s" if isinstance(value, (int, float)) else ""
