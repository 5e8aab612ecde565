"""Progress: whole lines from many writers, read as they come."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rollout.progress import Progress, follow


def test_a_follower_sees_every_line(tmp_path: Path) -> None:
    """Lines of four writers arrive whole, those from before and after the follower began, up to the stop."""
    path = tmp_path / "run" / "progress.jsonl"
    stop = threading.Event()

    def write(writer: int) -> None:
        for number in range(50):
            Progress(path).say(step="backfill", host=f"host-{writer}", text="x" * 500, done=number, total=50)

    def stop_after() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        stop.set()

    thread = threading.Thread(target=stop_after)
    thread.start()
    lines = list(follow(path, stop.is_set))
    thread.join()
    for writer in range(4):
        assert [line["done"] for line in lines if line["host"] == f"host-{writer}"] == list(range(50))


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """A line is given out once it is whole; what is no JSON is skipped."""
    path = tmp_path / "progress.jsonl"
    path.write_bytes(b'no json\n[1]\n{"step": "a"}\n{"st')
    stop = threading.Event()
    found = follow(path, stop.is_set)
    assert next(found) == {"step": "a"}

    def finish() -> None:
        time.sleep(0.3)
        with open(path, "ab") as stream:
            stream.write(b'ep": "b"}\n')
        stop.set()

    thread = threading.Thread(target=finish)
    thread.start()
    assert list(found) == [{"step": "b"}]
    thread.join()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A display that fails is no failure of the work."""
    (tmp_path / "file").write_text("")
    Progress(tmp_path / "file" / "progress.jsonl").say(step="x")
    assert list(follow(tmp_path / "none", lambda: True)) == []
