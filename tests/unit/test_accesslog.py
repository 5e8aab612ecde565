"""The balancer's log is read for a window only, whole lines only, through rotation."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from traffic_fakes import line

from rollout import accesslog
from rollout.errors import Failed

T0 = 1_800_000_000_000


def seconds(ms: int) -> float:
    return (T0 + ms) / 1000


def test_window_equals_a_full_scan(tmp_path: Path) -> None:
    """The search finds exactly what a scan of every line finds, with ends out of order and noise between."""
    rng = random.Random(7)
    requests = sorted(((i * 10, rng.choice((2, 20, 900, 3000))) for i in range(40_000)), key=lambda r: r[0] + r[1])
    path = tmp_path / "lb.log"
    with path.open("w") as file:
        for i, (t, took) in enumerate(requests):
            file.write(line(T0 + t, "blue-1", took=took))
            if i % 1000 == 0:
                file.write("Server app/green-1 is UP.\n")
    for since, until in ((0, 400_000), (123_450, 130_000), (399_000, 500_000), (-5_000, 20), (500_000, 600_000)):
        found = sorted(e.t - T0 for e in accesslog.read(str(path), seconds(since), seconds(until)))
        assert found == sorted(t for t, _ in requests if since <= t < until)


def test_only_the_tail_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short window at the end of a long log costs a search and its own lines."""
    path = tmp_path / "lb.log"
    path.write_text("".join(line(T0 + i * 10, "blue-1") for i in range(50_000)))
    parsed = 0
    real = accesslog.parse

    def counting(text: bytes) -> Any:
        nonlocal parsed
        parsed += 1
        return real(text)

    monkeypatch.setattr(accesslog, "parse", counting)
    assert len(list(accesslog.read(str(path), seconds(499_000), seconds(500_000)))) == 100
    assert parsed < 2_000


def test_rotation_and_unfinished_line(tmp_path: Path) -> None:
    """A window that began before the rotation reads both files; half a line waits for its other half."""
    path = tmp_path / "lb.log"
    (tmp_path / "lb.log.2").write_text("".join(line(T0 + i, "blue-1") for i in range(0, 5_000, 100)))
    (tmp_path / "lb.log.1").write_text("".join(line(T0 + i, "blue-1") for i in range(5_000, 10_000, 100)))
    path.write_text(
        "".join(line(T0 + i, "green-1") for i in range(10_000, 15_000, 100)) + line(T0 + 14_999, "blue-1")[:40]
    )
    assert len(list(accesslog.read(str(path), seconds(8_000), seconds(20_000)))) == 70
    assert len(list(accesslog.read(str(path), seconds(0), seconds(20_000)))) == 150


def test_damage_is_not_silence(tmp_path: Path) -> None:
    """A damaged line and a missing log raise: neither is a log without failures."""
    path = tmp_path / "lb.log"
    path.write_text(line(T0, "blue-1") + '{"t": 12, "ser\n')
    with pytest.raises(Failed, match="damaged"):
        list(accesslog.read(str(path), seconds(0), seconds(10)))
    with pytest.raises(FileNotFoundError):
        list(accesslog.read(str(tmp_path / "none.log"), 0, 1))


def test_idle_time_of_a_kept_connection_is_not_the_request(tmp_path: Path) -> None:
    """A request after a minute of idling began when it came, not when the answer before it ended."""
    text = line(T0, "blue-1").replace('"Ti": 0', '"Ti": 60000').encode()
    entry = accesslog.parse(io.BytesIO(text).readline())
    assert entry is not None and entry.t == T0 + 60_000


@pytest.mark.parametrize(
    ("status", "termination", "failed"),
    [
        (200, "--", False),
        (404, "--", False),
        (500, "--", True),
        (200, "SD", True),
        (504, "sH", True),
        (503, "SC", True),
        (-1, "CH", True),
        (499, "CH", True),
        (200, "CD", False),
        (400, "PR", True),
        (200, "LR", False),
        (408, "cR", False),
    ],
)
def test_what_counts_as_failed(status: int, termination: str, failed: bool) -> None:
    """5xx and abnormal ends count; a client that leaves on its own after the answer began does not."""
    entry = accesslog.parse(line(T0, "green-1", status=status, termination=termination).encode())
    assert entry is not None and entry.failed is failed
