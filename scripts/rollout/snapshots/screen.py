"""What people see of snapshots: the list, a proof, the promises."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from rollout.recovery.promises import Line
from rollout.snapshots.catalogue import Listed

WIDE = 200
NOT_MEASURED = "not measured"


def as_json(one: Listed) -> dict[str, Any]:
    """Return a snapshot and its state, JSON-native and without the digests."""
    made, proof = one.manifest, one.proof
    return {
        "id": one.id,
        "state": one.state,
        "wrong": one.wrong,
        "created_at": made.created_at.isoformat() if made else None,
        "environment": made.environment if made else "",
        "who": made.who if made else "",
        "why": made.why if made else "",
        "run": made.run if made else "",
        "holds": _holds(one),
        "bytes": sum(o.size for o in made.objects()) if made else None,
        "rows": sum(d.contents.rows for d in made.databases) if made else None,
        "verified_at": proof.verified_at.isoformat() if proof else None,
        "differences": proof.differences if proof else None,
        "findings": proof.findings if proof else [],
    }


def table(listed: list[Listed]) -> None:
    """Print the snapshots, the newest first."""
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)
    if not listed:
        console.print("no snapshot exists\nnext: invoke snapshot.take --verify")
        return
    columns = Table(box=None, pad_edge=False)
    for name in ("snapshot", "state", "taken", "MiB", "rows", "holds", "by", "why"):
        columns.add_column(name, justify="right" if name in ("MiB", "rows") else "left", overflow="fold")
    for one in listed:
        told = as_json(one)
        size, rows = told["bytes"], told["rows"]
        columns.add_row(
            one.id, one.state if one.state != "proven" or not one.proof else f"proven {one.proof.verified_at:%d %b %H:%M}",
            f"{one.manifest.created_at:%Y-%m-%d %H:%M} UTC" if one.manifest else "",
            "" if size is None else f"{size / 2**20:,.1f}", "" if rows is None else f"{rows:,}",
            ", ".join(told["holds"]), told["who"], one.wrong or told["why"],
        )  # fmt: skip
    console.print(columns)


def taken(one: Listed, seconds: float) -> str:
    """Return how the taking of a snapshot ended."""
    assert one.manifest is not None
    words = f"snapshot {one.id} in {seconds:.1f} s: {', '.join(_holds(one))}; {as_json(one)['bytes'] / 2**20:,.1f} MiB"
    if one.proof is None:
        return f"{words}; not proven\nnext: invoke snapshot.verify --snapshot {one.id}"
    return f"{words}\n{_verdict(one)}"


def proven(one: Listed, seconds: float) -> str:
    """Return how a verification ended."""
    return f"{_verdict(one)} ({seconds:.1f} s in all)"


def promises(lines: list[Line]) -> None:
    """Print what is promised and what was measured, a tier a line."""
    columns = Table(box=None, pad_edge=False)
    for name in ("tier", "verdict", "could be lost", "limit", "by", "back after", "limit", "measured by"):
        columns.add_column(name, overflow="fold")
    for one in lines:
        columns.add_row(
            one.tier, one.verdict, _seconds(one.point_seconds), _seconds(one.point_limit), one.point_source,
            _seconds(one.time_seconds), _seconds(one.time_limit), one.time_source,
        )  # fmt: skip
    Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE).print(columns)


def _holds(one: Listed) -> list[str]:
    if one.manifest is None:
        return []
    return [d.origin.host for d in one.manifest.databases] + [r.host for r in one.manifest.redis]


def _verdict(one: Listed) -> str:
    assert one.proof is not None
    proof = one.proof
    rows = sum(c.rows for c in proof.comparisons.values())
    words = f"{len(proof.comparisons)} parts restored on {proof.where}, {rows:,} rows and keys, {proof.differences} differences"
    state = "proven" if proof.verdict == "pass" else "NOT proven"
    return f"{one.id} is {state}: {words}, {len(proof.findings)} findings, {proof.seconds:.1f} s"


def _seconds(value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if value < 120:
        return f"{value:,.1f} s" if value else "0 s"
    return f"{value / 60:,.0f} min" if value < 7200 else f"{value / 3600:,.1f} h"
