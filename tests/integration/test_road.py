"""The whole road at small scale, as scripts/demo runs it: real servers, load, every phase, a rollback, finalize."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from rollout.children import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 420


def test_the_road_loses_nothing() -> None:
    """Forward, back, forward, finalize under load, commands killed on the way: nothing fails, is lost or left behind."""
    name = f"test-road-{os.getpid()}"
    given = ["--scale", "0.02", "--rate", "80", "--seed", "7", "--kill", "rollback,finalize"]
    argv = [sys.executable, "-m", "rollout.demo", "--name", name, *given]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
        preexec_fn=die_with_parent,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    summary = json.loads((ROOT / "artifacts" / name / "summary.json").read_text())
    assert summary["requests"] > 1000
    assert summary["failed_requests"] == 0
    assert summary["acknowledged_writes"] > 500
    assert summary["lost_writes"] == 0
    assert summary["duplicate_jobs"] == 0
    assert [p["verdict"] for p in summary["phases"]] == ["pass"] * 7  # six of the road, and the mending of references
    assert set(summary["by_release"]) == {"v1/blue", "v2/green"}
    assert summary["traffic_back_seconds"] < summary["rollback_seconds"]
    left = [p.pid for p in psutil.process_iter() if name in " ".join(_words(p))]
    assert left == []
    assert not (ROOT / ".sandbox" / name).exists()
    for folder in (name, f"sandbox-{name}"):
        shutil.rmtree(ROOT / "artifacts" / folder)  # kept when something above failed


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
