"""The bench of snapshots: its text, its eye on memory, and its arithmetic, without servers."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollout.bench import snapshot_result, watch
from rollout.bench.__main__ import main
from rollout.bench.prose import Writer
from rollout.bench.snapshot_result import OURS, Compared, aims, good, measured, unmeasured
from rollout.bench.snapshots.case import Did
from rollout.bench.watch import Act
from rollout.errors import Failed

ENV = {"PATH": os.defpath}
HOLD = "import time; held = b'x' * 60_000_000; time.sleep(1)"
DID = Did(Act(10, 5, 100_000_000), Act(20, 5, 50_000_000), Act(40, 5, 200_000_000), proven=True, guarantee="")
EQUAL = Compared(1, 2, [])


def test_bodies_compress_no_better_than_real_mail_and_are_the_same_every_time() -> None:
    """Archives of real mail shrink to some 40 % under gzip; the seed's own bodies to 4 %."""
    writer = Writer(1)
    bodies = [writer.body(n) for n in range(500)]
    raw = "".join(bodies).encode()
    assert 1.5 < len(raw) / len(zlib.compress(raw, 6)) < 2.6
    assert Writer(1).body(77) == bodies[77]
    assert len(set(bodies)) == len(bodies)


def test_memory_is_that_of_a_program_with_its_children() -> None:
    """Both at the same time, and what a program that it runs holds as well."""
    script = f"import subprocess, sys; held = b'x' * 60_000_000; subprocess.run([sys.executable, '-c', {HOLD!r}])"
    act = watch.run([sys.executable, "-c", script], ENV, deadline_seconds=30)
    assert 120_000_000 < act.peak_bytes < 250_000_000
    assert act.seconds >= 1
    assert 0 < act.cpu_seconds < 30


def test_a_server_that_a_program_runs_is_left_out(tmp_path: Path) -> None:
    """By its name; one that somebody else started is counted only when it is asked for."""
    server = shutil.copy("/bin/sleep", tmp_path / "postgres")
    script = f"import subprocess; subprocess.run([{str(server)!r}, '1'])"
    with watch.Memory(os.getpid()) as before:
        pass
    act = watch.run([sys.executable, "-c", script], ENV, deadline_seconds=30)
    named = watch.run([sys.executable, "-c", script], ENV, deadline_seconds=30, also={"postgres"})
    assert 0 < act.peak_bytes < named.peak_bytes
    assert before.now() > 0


def test_a_program_that_fails_says_why_and_one_that_hangs_is_ended() -> None:
    """With its last words; with its children."""
    before = watch.family(os.getpid())  # a worker of pytest may have servers of other tests
    with pytest.raises(Failed, match="exited with 3: no such thing"):
        watch.run(["/bin/sh", "-c", "echo no such thing >&2; exit 3"], ENV, deadline_seconds=10)
    with pytest.raises(Failed, match="exited with 0: status: error"):
        watch.run(["/bin/echo", "status: error"], ENV, deadline_seconds=10, says="status: ok")
    with pytest.raises(Failed, match="did not end"):
        watch.run(["/bin/sh", "-c", "sleep 100 & sleep 100"], ENV, deadline_seconds=0.5)
    assert watch.family(os.getpid()) <= before


def test_a_rate_is_the_database_by_wall_time_and_null_without_such_an_act() -> None:
    """MB are 10^6 bytes; the peak is the highest of all acts."""
    o = measured("tool", 1, 1_000_000_000, replace(DID, verify=None, proven=None), EQUAL, 400_000_000)
    assert (o["snapshot_mb_s"], o["restore_mb_s"], o["verify_mb_s"]) == (100, 50, None)
    assert (o["peak_rss_mb"], o["stored_mb"], o["proven"]) == (100, 400, None)
    assert o["proven_mb_s"] == pytest.approx(1000 / (10 + 1 + 20 + 2), abs=0.01)


def test_our_own_way_to_a_proof_is_snapshot_and_verify() -> None:
    """Which restores and compares by itself; one that did not pass proves nothing, and neither does an unequal copy."""
    assert measured(OURS, 1, 1_000_000_000, DID, EQUAL, 0)["proven_mb_s"] == 20
    failed = measured(OURS, 1, 1_000_000_000, replace(DID, proven=False), EQUAL, 0)
    unequal = measured(OURS, 1, 1_000_000_000, DID, Compared(1, 2, ["a row"]), 0)
    assert failed["proven_mb_s"] is None
    assert unequal["proven_mb_s"] is None


def objects(**of_the_other: Any) -> list[dict[str, Any]]:
    """Return ours and another tool's."""
    ours = measured(OURS, 1, 1_000_000_000, DID, EQUAL, 0)
    return [ours, measured("tool", 1, 1_000_000_000, replace(DID, proven=None), EQUAL, 0) | of_the_other]


def test_ours_are_held_against_the_fastest_other_of_the_same_size() -> None:
    """Nobody to beat is no aim reached."""
    told = aims(objects(snapshot_mb_s=101, restore_mb_s=None))
    assert [aim["reached"] for aim in told] == [False, None, False, True]
    assert aims(objects(gigabytes=5))[0]["reached"] is None


def test_the_status_is_bad_when_ours_is_unproven_or_a_tool_failed() -> None:
    """A tool that is not there is no failure."""
    found = objects()
    assert good(found)
    assert good([*found, unmeasured("gone", 1, "not installed")])
    assert not good([*found, unmeasured("broken", 1, "it said so", failed=True)])
    assert not good([found[0] | {"proven": False}])
    assert not good(objects(restored_equal=False))
    assert not good([unmeasured(OURS, 1, "no space", failed=True)])
    assert snapshot_result.line(found[0]).startswith("  rollout: snapshot 10.0 s")


@pytest.mark.parametrize("arguments", [["--gigabytes", "0"], ["--gigabytes", "1,-2"], ["--tools", "cp"], ["--json", "/no/x"]])
def test_bad_input_is_refused(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Before any server is started."""
    monkeypatch.setattr("sys.argv", ["bench", "snapshot", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
