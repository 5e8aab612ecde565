"""The bench of snapshots on real servers, tiny: every figure is there, ours is proven, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers import within

from rollout.bench import snapshot, snapshot_result
from rollout.environment import ROOT

pytestmark = pytest.mark.deep

REQUIRED = {"tool", "gigabytes", "snapshot_mb_s", "restore_mb_s", "verify_mb_s", "peak_rss_mb", "proven"}
GIGABYTES = 0.01


def command(folder: Path, *more: str) -> list[str]:
    """Return the command at its smallest."""
    words = ["snapshot", "--gigabytes", str(GIGABYTES), "--no-install", "--directory", str(folder)]
    return [sys.executable, "-m", "rollout.bench", *words, *more]


def environment() -> dict[str, str]:
    """Return ours, with the library on the path."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder that the servers' account can reach (those that pytest makes are not)."""
    made = Path(tempfile.mkdtemp(prefix="penguin-test-bench-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what one run over all tools wrote, by tool."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    done = subprocess.run(
        command(folder, "--json", str(file)), capture_output=True, text=True, check=False, env=environment(), cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return {o["tool"]: o for o in json.loads(file.read_text())}


def test_every_tool_has_every_figure(found: dict[str, dict[str, Any]]) -> None:
    """One object a tool, each with every name; a tool that is not there has a reason and no figures."""
    assert set(found) == set(snapshot.TOOLS)
    for o in found.values():
        assert set(o) >= REQUIRED | set(snapshot_result.FIGURES) | {"versions", "settings", "machine"}
        assert o["gigabytes"] == GIGABYTES and 1.5 < o["gzip_ratio"] < 3
        if "not_measured" in o:
            assert o["not_measured"] and not any(o[name] for name in snapshot_result.FIGURES)
        else:
            assert min(o["snapshot_mb_s"], o["restore_mb_s"], o["proven_mb_s"], o["stored_mb"]) > 0
            assert o["database_bytes"] == pytest.approx(GIGABYTES * 1e9, rel=0.5)
            assert o["settings"]["fsync"] == "on" and 1 < o["peak_rss_mb"] < 1000


def test_every_tool_brings_back_what_it_took(found: dict[str, dict[str, Any]]) -> None:
    """Compared by the same rows, definitions and indexes, whoever restored it."""
    for tool, o in found.items():
        if "not_measured" not in o:
            assert (o["restored_equal"], o["differences"]) == (True, []), tool


def test_ours_is_proven_and_held_against_the_aims(found: dict[str, dict[str, Any]]) -> None:
    """In bounded memory; alone of all it knows that it restores."""
    ours = found[snapshot_result.OURS]
    assert ours["proven"] is True and ours["findings"] == [] and ours["verify_mb_s"] > 0
    assert ours["peak_rss_mb"] < snapshot_result.MEMORY_MB
    assert len(ours["aims"]) == 4
    assert not any(o["proven"] for tool, o in found.items() if tool != snapshot_result.OURS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    """Neither servers nor files; at this moment a tool is at work."""
    bench = subprocess.Popen(
        command(folder, "--tools", snapshot_result.OURS), env=environment(), cwd="/",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def at_work() -> None:
        assert any("rollout.bench.snapshots.ours" in one.cmdline() for one in psutil.Process(bench.pid).children(recursive=True))

    within(60, at_work)
    children = psutil.Process(bench.pid).children(recursive=True)
    os.killpg(bench.pid, number)
    assert bench.wait(30) == 130
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert list(folder.iterdir()) == []
