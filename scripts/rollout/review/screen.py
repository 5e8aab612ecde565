"""The outlook of changes for people, or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def outlook(name: str, hosts: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print what the changes of an environment meet."""
    if as_json:
        json.dump({"environment": name, "databases": hosts}, sys.stdout, indent=1)
        print()  # noqa: T201  (a line ends)
        return
    console = Console(highlight=False, soft_wrap=True)
    for host in hosts:
        console.print(Text(f"{host['host']}  {host['tier']}", style="bold"))
        if "error" in host:
            console.print(Text(f"  {host['error']}", style="red"))
        for change in host["changes"]:
            console.print(Text(f"  {change['change']}  {change['kind']}  {change['stage'] or 'not begun'}"))
            for line in _lines(change):
                console.print(Text(f"    {line}", style="red" if line.startswith("refused") else ""))


def _lines(change: dict[str, Any]) -> Iterator[str]:
    for table, size in change["tables"].items():
        rows = "never analysed" if size["rows"] is None else f"about {size['rows']:,} rows"
        yield f"{table}: {rows}, {_size(size['bytes'])}"
    for stage in ("expand", "swap"):
        for mode, relations in change[stage].items():
            yield f"{stage} locks {', '.join(relations)}  ({mode})"
    yield from (f"refused: {what}" for what in change["refused"])


def _size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit in UNITS[:2] else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"
