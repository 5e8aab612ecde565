"""The benches of the audit trail and of row security: what they compare is on one core, and their figures say what they are."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest
from servers import Server

from rollout.bench import audit, pinned, requests, row_security


def test_a_client_and_its_backends_share_a_core(server: Server) -> None:
    """For as long as they are asked to; the client gets back what it had."""
    had = os.sched_getaffinity(0)
    with psycopg.connect(server.conninfo("postgres")) as connection:
        with pinned.to_one_core() as core:
            assert core.pin([connection])
            assert os.sched_getaffinity(0) == os.sched_getaffinity(connection.info.backend_pid) == {core.number}
        assert os.sched_getaffinity(0) == had


def test_what_is_no_backend_here_is_left_alone(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server elsewhere has the number of a process that is somebody's here; a platform may not know of cores at all."""
    with psycopg.connect(server.conninfo("postgres")) as connection, pinned.to_one_core(1) as core:
        had = os.sched_getaffinity(connection.info.backend_pid)
        monkeypatch.setattr(pinned, "PROCESSES", tmp_path)
        assert not core.pin([connection])
        (tmp_path / str(connection.info.backend_pid)).mkdir()
        (tmp_path / str(connection.info.backend_pid) / "cmdline").write_bytes(b"postgres: somebody else 127.0.0.1(1) idle")
        assert not core.pin([connection])
        assert os.sched_getaffinity(connection.info.backend_pid) == had
    monkeypatch.delattr(os, "sched_setaffinity")
    with pinned.to_one_core() as core:
        assert (core.number, core.pin_process(os.getpid())) == (None, False)


def test_a_figure_of_row_security() -> None:
    """Medians and p95 of each side, and the noise from the two that are alike."""
    took = [(0.002 + n / 1e6, 0.001 + n / 1e6, 0.001 + n / 1e6) for n in range(100)]
    figure = asdict(row_security._figure(("v1", "olap", "x"), took, is_pinned=True))
    assert (figure["p50_bound_ms"], figure["p50_free_ms"], figure["p50_noise"], figure["noise"]) == (2.05, 1.05, 1.0, 1.0)
    assert (figure["ratio"], figure["within_limit"], figure["pinned"]) == (1.91, False, True)


@pytest.mark.deep
def test_figures_of_the_audit_trail() -> None:
    """Side by side with their noise floor; the limit is compared with a ratio, and the log's verdict has its own name."""
    options = audit.Options(tiers=["olap"], clients=[2], seconds=1.0)
    found = audit.run(options) + requests.run(options)
    assert [one["tier"] for one in found] == ["olap", "olap"]
    for one in found:
        assert set(one["median_ratio"]) >= {"again", "on"}
        assert one["within_limit"] == (one["median_ratio"]["on"] <= one["limit"])
        assert "verdict" not in one
    assert (found[0]["log_verdict"], found[1]["request"]) == ("pass", "POST /analytics")
