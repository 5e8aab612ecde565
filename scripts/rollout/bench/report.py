"""The figures for people: a table of tools and sizes, and what became of each aim."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollout.bench.result import Object, aims

WIDE = 200  # columns where there is no terminal
COLUMNS = {
    "stall ms": "longest_stall_over_baseline_ms", "p99 before": "baseline_p99_ms", "during": "during_p99_ms",
    "after": "after_p99_ms",
    "rows/s": "rows_per_s", "of offline": "copy_share_of_offline", "built": "built_share_of_offline",
    "seconds": "total_seconds",
    "compare": "compare_share", "write": "write_overhead", "bulk": "bulk_write_overhead", "swap ms": "swap_ms",
    "back ms": "rollback_ms", "failed": "failed_statements", "lost": "lost_writes",
}  # fmt: skip
BUSY_MS = 100  # a baseline that stalls as long as the aim allows says nothing good about the figures behind it
WORDS = {True: "reached", False: "NOT reached", None: "not measured"}


def show(objects: list[Object], console: Console) -> None:
    """Print the table, then the aims."""
    table = Table(box=None, pad_edge=False)
    for name in ("rows", "tool", *COLUMNS):
        table.add_column(name, justify="left" if name == "tool" else "right", overflow="fold")
    for o in objects:
        if "not_measured" in o:
            table.add_row(f"{o['rows']:,}", o["tool"], "not measured")
        else:
            table.add_row(f"{o['rows']:,}", o["tool"], *(_figure(o[figure]) for figure in COLUMNS.values()))
    console.print(table)
    for tool, why in {o["tool"]: o["not_measured"] for o in objects if "not_measured" in o}.items():
        console.print(Text(f"{tool} was not measured: {why}"))
    for o in objects:
        if (o["baseline_max_ms"] or 0) >= BUSY_MS:
            words = f"{o['tool']}, {o['rows']:,} rows: the baseline itself had {o['baseline_max_ms']:,.0f} ms"
            console.print(Text(f"{words}: the machine was busy", style="yellow"))
    for aim in aims(objects):
        sign = "at most" if aim["at_most"] else "at least"
        where = "" if aim["rows"] is None else f", {aim['rows']:,} rows"
        words = f"{WORDS[aim['reached']]:<12}  {aim['aim']}{where}: {_figure(aim['measured'])} ({sign} {aim['limit']:g})"
        console.print(Text(words, style="red" if aim["reached"] is False else ""))


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
