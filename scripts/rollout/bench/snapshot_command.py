"""scripts/bench snapshot: its words, and what becomes of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from rollout.bench import report, snapshot, snapshot_result
from rollout.bench.arguments import file, folder, positive, some_of

GIGABYTES = "1,5"
ABOUT = """
Takes a content database of each size into an object store, brings it back and verifies what is stored, with each tool, on one
Postgres server and one bucket (SeaweedFS over TLS, since pgBackRest speaks no other), all gone afterwards. Bodies and attachments
compress as little as real mail (gzip_ratio says by how much). Figures are reported, never asserted: the exit status is 0 unless
ours was not proven, or a tool failed or brought back something else than it had taken.

tools
  rollout             this repository's snapshots; verify restores into a throw-away server, compares and checks
  pg_dump_aws         pg_dump -Fd -j2 to the disk, aws s3 cp --recursive (awscli 1.46.3 from PyPI); back likewise, pg_restore -j2
  pg_dump_aws_gzip1   the same with --compress=1: pg_dump 15 has no faster compression
  pgbackrest          Debian's package, 2 processes, zst level 1; the restored server is started and replays its log. As root it
                      is installed if that upgrades nothing (--no-install: never); Postgres is Debian's 15 then

figures, one object a tool and size (null: the tool has no such act); MB are 10^6 bytes, a rate is the database's size by seconds
  snapshot_mb_s, restore_mb_s, verify_mb_s   from the start of each program to its end, interpreters' start included
  proven        whether the tool's own verification restored the snapshot and found it equal to what was taken
  proven_mb_s   the same guarantee for all: snapshot and verify where that restores and compares; else snapshot, restore, and the
                bench's comparison of every table, sequence, definition and B-tree, which needs a source that nobody writes to
  peak_rss_mb   the most resident memory of the tool's processes at once, every 0.1 s, without Postgres servers and the store;
                pages that several share count for each; peak_mb: in each act
  cpu_seconds   of the tool's processes, a throw-away server's included, without the server and the store
  stored_mb, seconds, guarantee (what verify shows), options, findings (of verify), aims (rollout only)
  load_average_1m  of the machine before and after: figures of a machine that others keep busy are theirs as well
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    one = commands.add_parser(
        "snapshot", help="snapshot, restore and verify, beside pg_dump with the AWS CLI and pgBackRest", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    one.add_argument("--gigabytes", default=GIGABYTES, type=_sizes, help=f"sizes, comma separated (default {GIGABYTES})")
    tools = partial(some_of, snapshot.TOOLS)
    one.add_argument("--tools", default=",".join(snapshot.TOOLS), type=tools, help="which, comma separated (default: all)")
    one.add_argument("--bin", type=folder, metavar="DIR", help="server programs (default: Debian's 15 with pgBackRest, else 18)")
    one.add_argument("--directory", type=folder, metavar="DIR", help="where the servers' folder is made (default: as mktemp)")
    one.add_argument("--no-install", action="store_true", help="do not install pgBackRest when it is missing")
    one.add_argument("--json", type=file, metavar="FILE", help="write the objects there, as a list, instead of a table")


def run(given: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Measure; return the exit status."""
    objects = snapshot.run(snapshot.Options(
        gigabytes=given.gigabytes, tools=given.tools, folder=given.bin, directory=given.directory, install=not given.no_install,
        say=say, keep=lambda objects: _keep(objects, given.json),
    ))  # fmt: skip
    if given.json is None:
        snapshot_result.show(objects, Console(highlight=False, width=None if sys.stdout.isatty() else report.WIDE))
    return 0 if snapshot_result.good(objects) else 1


def _keep(objects: list[dict[str, Any]], target: Path | None) -> None:
    if target is not None:
        target.write_text(json.dumps(objects, indent=1) + "\n")


def _sizes(text: str) -> list[float]:
    return [positive(word) for word in text.split(",")]
