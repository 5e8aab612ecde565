"""Run the load as a process; SIGTERM or Ctrl-C ends it after what is in flight.

Usage: python -m rollout.load --url URL --rate 60 [--seconds N] --seed S --environment FILE --into DIR
Writes into DIR: journal.jsonl, series.jsonl, failures.jsonl, status.json (each second), summary.json (at the end).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import psycopg

from rollout import environment
from rollout.errors import RolloutError
from rollout.load import journal, targets
from rollout.load.generator import Generator, Plan
from rollout.load.mix import Mix


def main() -> int:
    """Run; exit 2 on bad input, 0 when the load ended as planned (failures are counted, not judged here)."""
    arguments = argparse.ArgumentParser(prog="rollout.load", description="An open-loop load over all tiers.")
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--rate", required=True, type=float, help="requests a second")
    arguments.add_argument("--seconds", type=float, help="how long; without it until SIGTERM")
    arguments.add_argument("--seed", required=True, type=int)
    arguments.add_argument("--environment", required=True, type=Path, help="a file written by rollout.environment.save")
    arguments.add_argument("--into", required=True, type=Path, help="a folder without a journal in it")
    given = arguments.parse_args()
    if given.rate <= 0 or (given.seconds is not None and given.seconds <= 0):
        arguments.error("--rate and --seconds are more than 0")
    if (given.into / journal.NAME).exists():
        arguments.error(f"{given.into} holds the journal of another load")
    try:
        known = targets.sample(environment.read(given.environment))
    except RolloutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError, psycopg.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"refused: {reason}\nnext: give a file that rollout.environment.save wrote", file=sys.stderr)
        return 2
    given.into.mkdir(parents=True, exist_ok=True)
    book = journal.Journal(given.into)
    mix = Mix(given.seed, str(time.time_ns()), known, book)
    summary = asyncio.run(_run(Plan(given.url.rstrip("/"), given.rate, given.seconds), mix, book, given.into))
    print(
        json.dumps({name: summary[name] for name in ("requests", "failed", "acknowledged_writes", "p99_ms", "max_ms")})
    )
    return 0


async def _run(plan: Plan, mix: Mix, book: journal.Journal, into: Path) -> dict[str, object]:
    generator = Generator(plan, mix, book, into)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, generator.stop)
    return await generator.run()


if __name__ == "__main__":
    sys.exit(main())
