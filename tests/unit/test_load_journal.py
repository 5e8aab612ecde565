"""The load's journal of writes."""

from __future__ import annotations

from pathlib import Path

from rollout.load import journal


def test_lines_are_on_their_way_to_the_disk_at_once(tmp_path: Path) -> None:
    """A line can be read before anything is closed, so that a kill loses no acknowledged write."""
    book = journal.Journal(tmp_path)
    book.write("job", "ack", key="1")
    book.write("status", "intent", key="2", status="sent")
    assert [(line["n"], line["phase"]) for line in journal.read(tmp_path)] == [(1, "ack"), (2, "intent")]
    assert book.acknowledged == 1


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """What a kill cut off is not read."""
    journal.Journal(tmp_path).write("job", "ack", key="1")
    with (tmp_path / journal.NAME).open("a") as stream:
        stream.write('{"n": 2, "ki')
    assert [line["key"] for line in journal.read(tmp_path)] == ["1"]
