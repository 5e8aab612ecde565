"""The bench on real servers, tiny: every figure is there, ours loses nothing, and nothing is left behind."""

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

from rollout.bench import change, result
from rollout.environment import ROOT

pytestmark = pytest.mark.deep

REQUIRED = {
    "tool", "rows", "baseline_p99_ms", "during_p99_ms", "baseline_max_ms", "during_max_ms", "rows_per_s", "offline_rows_per_s",
    "compare_share", "write_overhead", "swap_ms", "rollback_ms", "failed_statements", "lost_writes",
}  # fmt: skip
ROWS = 2000


def command(folder: Path, *more: str) -> list[str]:
    """Return the command at its smallest."""
    return [
        sys.executable, "-m", "rollout.bench", "change", "--rows", str(ROWS), "--seconds", "2", "--rate", "50",
        "--no-install", "--directory", str(folder), *more,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Return ours, with the library on the path."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder that the server's account can reach (those that pytest makes are not)."""
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
    assert set(found) == set(change.TOOLS)
    for o in found.values():
        assert set(o) >= REQUIRED | set(result.FIGURES) | {"versions", "settings", "load", "machine"}
        assert o["rows"] == ROWS
        if "not_measured" in o:
            assert o["not_measured"] and not any(o[name] for name in result.FIGURES)
        else:
            assert o["baseline_p99_ms"] > 0 and o["during_max_ms"] > 0 and o["rows_per_s"] > 0
            assert o["settings"]["fsync"] == "on" and o["statements"]["baseline"] >= 90


def test_nothing_failed_and_nothing_was_lost(found: dict[str, dict[str, Any]]) -> None:
    """But for the one transaction as sketched, whose losses are what it is measured for."""
    for tool, o in found.items():
        if "not_measured" not in o:
            assert o["failed_statements"] == 0, (tool, o["clients"])
            assert o["clients"]["acknowledged_writes"] > 0
            if tool != "one_transaction":
                assert (o["lost_writes"], o["clients"]["rows_unaccounted"], o["clients"]["wrong_answers"]) == (0, 0, 0)


def test_the_engine_is_held_against_the_aims(found: dict[str, dict[str, Any]]) -> None:
    """Every figure is there, of every step."""
    ours = found[result.OURS]
    assert len(ours["aims"]) == 7
    assert all(ours[name] is not None for name in result.FIGURES)
    assert {"copy", "compare", "swap", "revert", "contract"} <= {step["step"] for step in ours["steps"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    """Neither a server, nor clients, nor files; whichever the moment, this one is under load."""
    bench = subprocess.Popen(
        command(folder, "--tools", "one_transaction", "--seconds", "60"), env=environment(), cwd="/",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def loaded() -> None:
        assert len(list(folder.iterdir())) == 1
        assert len(psutil.Process(bench.pid).children(recursive=True)) > 8

    within(30, loaded)
    children = psutil.Process(bench.pid).children(recursive=True)
    os.killpg(bench.pid, number)
    assert bench.wait(30) == 130
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert list(folder.iterdir()) == []
