"""The object that says what one tool did at one size of snapshot, the aims that ours is held against, and all that for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollout.bench.result import OURS, rounded
from rollout.bench.snapshots.case import Did
from rollout.bench.watch import Act

# Present in every object; None where a tool has no such act, or was not measured.
FIGURES = ("snapshot_mb_s", "restore_mb_s", "verify_mb_s", "peak_rss_mb", "proven", "proven_mb_s")
MEMORY_MB = 300
MB = 1e6
FINDINGS_MAX = 5
COLUMNS = {
    "snapshot MB/s": "snapshot_mb_s", "restore": "restore_mb_s", "verify": "verify_mb_s", "until proven": "proven_mb_s",
    "peak MB": "peak_rss_mb", "stored MB": "stored_mb",
}  # fmt: skip
WORDS = {True: "reached", False: "NOT reached", None: "not measured"}
Object = dict[str, Any]

__all__ = ["OURS", "Compared", "Object", "aims", "good", "hold", "line", "measured", "show", "unmeasured"]


@dataclass(frozen=True)
class Compared:
    """The bench's own comparison of a restored copy: seconds to read the source, seconds for the copy, and what differs."""

    source_seconds: float
    copy_seconds: float
    differences: list[str]


def unmeasured(tool: str, gigabytes: float, why: str, **more: Any) -> Object:
    """Return an object without figures that says why there are none."""
    return {"tool": tool, "gigabytes": gigabytes, **dict.fromkeys(FIGURES), "not_measured": why, **more}


def measured(tool: str, gigabytes: float, size: int, did: Did, compared: Compared, stored: int) -> Object:
    """Return the object of a tool that did its work on a database of `size` bytes and left `stored` bytes in the store."""
    acts = {name: act for name in ("snapshot", "restore", "verify") if (act := getattr(did, name)) is not None}
    seconds = {name: round(act.seconds, 3) for name, act in acts.items()}
    seconds |= {"compare_source": round(compared.source_seconds, 3), "compare_copy": round(compared.copy_seconds, 3)}
    proven_seconds = _until_proven(did, compared)
    return {
        "tool": tool, "gigabytes": gigabytes, "snapshot_mb_s": _rate(size, did.snapshot),
        "restore_mb_s": _rate(size, did.restore), "verify_mb_s": _rate(size, did.verify),
        "peak_rss_mb": rounded(max(act.peak_bytes for act in acts.values()) / MB), "proven": did.proven,
        "proven_mb_s": None if proven_seconds is None else rounded(size / MB / proven_seconds),
        "database_bytes": size, "stored_mb": rounded(stored / MB), "restored_equal": not compared.differences,
        "differences": compared.differences[:FINDINGS_MAX], "findings": did.findings[:FINDINGS_MAX],
        "guarantee": did.guarantee, "options": did.options, "versions": did.versions,
        "seconds": {**seconds, "until_proven": rounded(proven_seconds)},
        "cpu_seconds": {name: round(act.cpu_seconds, 3) for name, act in acts.items()},
        "peak_mb": {name: rounded(act.peak_bytes / MB) for name, act in acts.items()},
    }  # fmt: skip


def hold(objects: list[Object]) -> None:
    """Give our own objects the aims as far as they can be told."""
    told = aims(objects)
    for o in objects:
        if o["tool"] == OURS:
            o["aims"] = [aim for aim in told if aim["gigabytes"] == o["gigabytes"]]


def aims(objects: list[Object]) -> list[Object]:
    """Return each aim with what was measured for it: `reached` is None where nothing was, or there is nobody to beat."""
    told: list[Object] = []
    for o in objects:
        if o["tool"] != OURS:
            continue
        others = [other for other in objects if other["gigabytes"] == o["gigabytes"] and other["tool"] != OURS]
        for words, figure in (
            ("snapshot, MB/s, as fast as the fastest other", "snapshot_mb_s"),
            ("restore, MB/s, as fast as the fastest other", "restore_mb_s"),
            ("snapshot until proven, MB/s, as fast as the fastest other", "proven_mb_s"),
        ):
            limit = max((other[figure] for other in others if other[figure] is not None), default=None)
            told.append(_aim(words, o, figure, limit, at_most=False))
        told.append(_aim("peak memory, MB", o, "peak_rss_mb", MEMORY_MB, at_most=True))
    return told


def good(objects: list[Object]) -> bool:
    """Return whether ours were proven and every tool that was to be measured was, and restored what it had taken."""
    ours = [o for o in objects if o["tool"] == OURS]
    return all(o["proven"] for o in ours) and all(not o.get("failed") and o.get("restored_equal", True) for o in objects)


def line(o: Object) -> str:
    """Return an object in a line, for progress."""
    if "not_measured" in o:
        return f"  {o['tool']}: failed: {o['not_measured']}"
    verify = "" if o["verify_mb_s"] is None else f", verify {o['seconds']['verify']:.1f} s"
    words = f"snapshot {o['seconds']['snapshot']:.1f} s, restore {o['seconds']['restore']:.1f} s{verify}"
    until = o["seconds"]["until_proven"]
    proof = "NOT proven" if until is None else f"until proven {until:.1f} s"
    return f"  {o['tool']}: {words}; {proof}; peak {o['peak_rss_mb']:.0f} MB"


def show(objects: list[Object], console: Console) -> None:
    """Print the table, then the aims."""
    table = Table(box=None, pad_edge=False)
    for name in ("GB", "tool", *COLUMNS):
        table.add_column(name, justify="left" if name == "tool" else "right")
    for o in objects:
        figures = ["not measured"] if "not_measured" in o else [_figure(o[figure]) for figure in COLUMNS.values()]
        table.add_row(f"{o['gigabytes']:g}", o["tool"], *figures)
    console.print(table)
    for tool, why in {o["tool"]: o["not_measured"] for o in objects if "not_measured" in o}.items():
        console.print(Text(f"{tool} was not measured: {why}"))
    for aim in aims(objects):
        sign = "at most" if aim["at_most"] else "at least"
        words = f"{WORDS[aim['reached']]:<12}  {aim['aim']}, {aim['gigabytes']:g} GB: {_figure(aim['measured'])}"
        console.print(Text(f"{words} ({sign} {_figure(aim['limit'])})", style="red" if aim["reached"] is False else ""))


def _until_proven(did: Did, compared: Compared) -> float | None:
    """Return the seconds from the start of a snapshot to knowing that it restores, None when it does not.

    Whoever does not restore and compare by itself gets there by a restore and the bench's comparison.
    """
    if compared.differences or did.proven is False:
        return None
    if did.proven and did.verify is not None:
        return did.snapshot.seconds + did.verify.seconds
    return did.snapshot.seconds + compared.source_seconds + did.restore.seconds + compared.copy_seconds


def _aim(words: str, o: Object, figure: str, limit: float | None, *, at_most: bool) -> Object:
    value = o[figure]
    reached = None if value is None or limit is None else value <= limit if at_most else value >= limit
    return {
        "aim": words, "gigabytes": o["gigabytes"], "limit": limit, "at_most": at_most, "measured": value, "reached": reached,
    }  # fmt: skip


def _rate(size: int, act: Act | None) -> float | int | None:
    return None if act is None else rounded(size / MB / act.seconds)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
