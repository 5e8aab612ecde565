"""pg_repack: the table rewritten as it is, its file exchanged at the end; there is no comparison and no way back."""

from __future__ import annotations

import os
import subprocess
import time

from rollout.bench.subject import TABLE, Measured, Subject
from rollout.children import die_with_parent
from rollout.errors import Failed

COPY, INDEX, CATCH_UP, SWAP = "INSERT INTO repack.table_", "CREATE ", "SELECT repack.repack_apply", "SELECT repack.repack_swap"
Said = list[tuple[float, str]]


def repack(subject: Subject) -> Measured:
    """Run it on the table; where its time went is read off the queries that it echoes as it sends them."""
    with subject.server.connect(subject.dbname) as connection:
        connection.execute("CREATE EXTENSION pg_repack")
    with subject.step("pg_repack"):
        began = time.monotonic()
        said = _run(subject)
        ended = time.monotonic()
    copy = _first(said, COPY, 0)
    index = _first(said, INDEX, copy)
    caught_up = _first(said, CATCH_UP, index)
    swap = _first(said, SWAP, caught_up)
    locked = max(n for n, (_, words) in enumerate(said[:swap]) if words.startswith("LOCK TABLE"))
    committed = _first(said, "COMMIT", swap)
    # A line is printed before its query is sent: the one behind it says when that had been answered.
    copy_seconds = said[copy + 1][0] - said[copy][0]
    return Measured(
        rows_per_s=subject.rows / copy_seconds,
        filled="none",
        swap_ms=(said[committed + 1][0] - said[locked + 1][0]) * 1000,
        facts={
            "copy_seconds": round(copy_seconds, 3),
            "index_seconds": round(said[caught_up][0] - said[index][0], 3),
            "total_seconds": round(ended - began, 3),
        },
    )


def _run(subject: Subject) -> Said:
    """Return each query with the instant it was sent."""
    program, server = subject.server.programs.repack, subject.server
    assert program is not None
    argv = [str(program), "--no-order", "--no-kill-backend", "--echo", "-t", f"public.{TABLE}", "-d", subject.dbname]
    argv += ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-w"]
    said: Said = []
    last = ""
    with subprocess.Popen(
        argv, env={"PATH": os.defpath, "PGPASSFILE": str(server.passfile)}, stdin=subprocess.DEVNULL, cwd="/",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent,  # noqa: PLW1509
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last = line.strip()
                kind, _, words = last.partition("(query) ")
                if kind == "LOG: ":
                    said.append((time.monotonic(), words))
        finally:
            process.terminate()
    # It also ends with 0 after a table that it gave up: only the swap says that it was done.
    if not any(words.startswith(SWAP) for _, words in said):
        raise Failed(f"pg_repack did not exchange the table: {last}", next="read what it said")
    return said


def _first(said: Said, beginning: str, start: int) -> int:
    return next(n for n, (_, words) in enumerate(said) if n >= start and words.startswith(beginning))
