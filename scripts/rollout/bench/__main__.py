"""The bench as a command: scripts/bench change, scripts/bench audit, scripts/bench snapshot.

Exit codes: 0 measured, and ours failed and lost nothing, or was proven; 1 something did or was not, or a tool
failed; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from rollout.bench import audit, change, report, requests, result, snapshot_command
from rollout.bench.arguments import file, folder, positive, some_of
from rollout.environment import TIERS, Tier
from rollout.errors import RolloutError

ROWS = "100000,1000000,5000000"
ABOUT = """
Rewrites one table as it is, under an open load of single-row statements, with each tool, at each size, on a Postgres
server of its own that is gone afterwards. Figures are reported, never asserted: the exit status is 0 unless ours failed
a statement or lost a write.

tools
  one_transaction         CREATE TABLE, INSERT ... SELECT, RENAME in one transaction: what is written meanwhile is lost
  one_transaction_locked  the same behind LOCK TABLE: nothing is lost, everybody waits
  pg_repack               Debian's package for Postgres 15; as root it is installed if that upgrades nothing (--no-install: never)
  rollout                 this repository's engine: expand, copy, compare, swap, revert, expand, swap, contract

figures, one object a tool and size (null: the tool has no such thing)
  baseline_ during_ after_  latency of statements due before, during and after the tool's work, from the scheduled instant
  longest_stall_over_baseline_ms  the longest latency during, less the baseline's median
  rows_per_s              rows of the copy by its seconds
  offline_rows_per_s      INSERT ... SELECT, without load, into a table with the same indexes (see filled_with_indexes, offline)
  copy_, built_share_of_offline  the copy by that; the copy and its indexes by an INSERT ... SELECT into a table with all of them
  total_seconds           from the tool's start until the new table stands under the old name
  compare_share           seconds of the comparison by those of the copy
  write_overhead          median of single-row committed writes, sync on by sync off (the better of before and after the change);
                          unflushed_: without waiting for the disk; bulk_: one UPDATE of up to 10,000 rows
  swap_ms, rollback_ms    how long the locks were held, the longest of each
  client_lag_max_ms       how late the clients themselves were to send, which is in every latency; max_beside_lag_ms: without it
  lost_writes             acknowledged writes that the table under the old name does not show at the end; each is looked up
  load_average_1m         of the machine before and after: figures of a machine that others keep busy are theirs as well
  steps                   latencies in each part of the tool's work; facts: what else it said; aims: reached or not (rollout only)
"""
AUDIT = """
Repeats each tier's own write transaction in four databases in turn: without the audit trail (off), without it (again), with it
(on), and chained row by row (chained: what was not chosen).

  median_ratio, mean_ratio  to off (the mean: of the quickest 95 %). That of `again` is the noise floor: when it is not near 1,
                            no other figure of the run is worth quoting
  pinned                    each client was on one core with its backends, without which two equal databases differ by a third
  limit, within_limit       of the decision (runbooks/decisions/0012-audit-chain.md), and whether the median's ratio is; no exit
                            status depends on it
  log_verdict               the log is then sealed and verified, rows a second: what that said; exit 1 when it is not `pass`

--requests asks the application itself instead, one client at a time, by the request that writes to each tier.
"""


def main() -> int:
    """Run; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    given = _arguments()
    tells = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if given.command == "audit":
            return _audit(given, lambda words: tells.print(words, markup=False))
        if given.command == "snapshot":
            return snapshot_command.run(given, lambda words: tells.print(words, markup=False))
        objects = change.run(change.Options(
            rows=given.rows, tools=given.tools, seconds=given.seconds, rate=given.rate, connections=given.connections,
            seed=given.seed, folder=given.bin, directory=given.directory, install=not given.no_install,
            say=lambda words: tells.print(words, markup=False), keep=lambda objects: _keep(objects, given.json),
        ))  # fmt: skip
    except RolloutError as error:
        tells.print(str(error), markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        tells.print("interrupted: nothing is left running")
        return 130
    if given.json is None:
        report.show(objects, Console(highlight=False, width=None if sys.stdout.isatty() else report.WIDE))
    return 0 if result.good(objects) else 1


def _audit(given: argparse.Namespace, say: Callable[[str], None]) -> int:
    measure = requests.run if given.requests else audit.run
    objects = measure(audit.Options(
        tiers=given.tiers, clients=given.clients, seconds=given.seconds, flushed=not given.unflushed,
        folder=given.bin, directory=given.directory, say=say,
    ))  # fmt: skip
    text = json.dumps(objects, indent=1)
    if given.json is None:
        print(text)
    else:
        given.json.write_text(text + "\n")
    return 0 if given.requests or audit.good(objects) else 1


def _keep(objects: list[result.Object], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(objects, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="What a change costs clients, measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "change", help="rewrite a table under load, with every tool", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    one.add_argument("--rows", default=ROWS, type=_sizes, help=f"sizes of the table, comma separated (default {ROWS})")
    tools = partial(some_of, change.TOOLS)
    one.add_argument("--tools", default=",".join(change.TOOLS), type=tools, help="which, comma separated (default: all)")
    one.add_argument("--seconds", default=20.0, type=positive, help="of the baseline; other phases follow it (default 20)")
    one.add_argument("--rate", default=200.0, type=positive, help="statements a second (default 200)")
    one.add_argument("--connections", default=8, type=int, choices=range(1, 41), metavar="1..40", help="of the load (8)")
    one.add_argument("--seed", default=1, type=int, help="of the load (default 1)")
    one.add_argument("--bin", type=folder, metavar="DIR", help="server programs (default: Debian's 15 with pg_repack, else 18)")
    one.add_argument("--directory", type=folder, metavar="DIR", help="where the server's folder is made (default: as mktemp)")
    one.add_argument("--no-install", action="store_true", help="do not install pg_repack when it is missing")
    one.add_argument("--json", type=file, metavar="FILE", help="write the objects there, as a list, instead of a table")
    two = commands.add_parser(
        "audit", help="the product's writes with and without the audit trail", description=AUDIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    two.add_argument("--tiers", default=",".join(TIERS), type=_tiers, help="which, comma separated (default: all)")
    two.add_argument("--clients", default="1,8", type=_counts, help="at a time, comma separated, each measured (default 1,8)")
    asked = two.add_mutually_exclusive_group()
    asked.add_argument("--requests", action="store_true", help="requests of one client to the application, instead")
    asked.add_argument("--unflushed", action="store_true", help="do not wait for the disk: what the processor alone pays")
    two.add_argument("--seconds", default=20.0, type=positive, help="for each tier and number of clients (default 20)")
    two.add_argument("--bin", type=folder, metavar="DIR", help="server programs (default: 18)")
    two.add_argument("--directory", type=folder, metavar="DIR", help="where the server's folder is made (default: as mktemp)")
    two.add_argument("--json", type=file, metavar="FILE", help="write the objects there, instead of printing them")
    snapshot_command.add(commands)
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    sizes = [int(word) for word in text.split(",")]
    if not sizes or min(sizes) < 1000:
        raise argparse.ArgumentTypeError("each size is at least 1000")
    return sizes


def _tiers(text: str) -> list[Tier]:
    asked = some_of(TIERS, text)
    return [tier for tier in TIERS if tier in asked]


def _counts(text: str) -> list[int]:
    counts = [int(word) for word in text.split(",")]
    if not all(0 < count <= 40 for count in counts):
        raise argparse.ArgumentTypeError("1 to 40 clients")
    return counts


if __name__ == "__main__":
    sys.exit(main())
