"""The record of a sandbox, its lock and its names."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rollout.errors import BadInput, Refused
from rollout.sandbox import layout, ports, record, seeding
from rollout.sandbox.layout import Layout
from rollout.sandbox.record import Record, Seeding


@pytest.fixture
def place(tmp_path: Path) -> Layout:
    """The layout of a sandbox in a temporary folder."""
    place = Layout("t", tmp_path / "t")
    place.home.mkdir()
    return place


def _record(**changes: object) -> Record:
    return Record.model_validate({"name": "t", "ports": {"a": 1}, "path_binaries": False, "servers": "/x"} | changes)


def test_a_record_survives_writing_and_is_private(place: Layout) -> None:
    """What is read is what was written, and only the user can read the file."""
    wanted = _record(seeding=Seeding(scale=0.5, seed=7, complete=True))
    record.write(place, wanted)
    assert record.read(place) == wanted
    assert stat.S_IMODE(record.path(place).stat().st_mode) == 0o600
    assert [p.name for p in place.home.iterdir()] == ["sandbox.json"]


def test_no_record_is_none_and_a_broken_one_is_refused(place: Layout) -> None:
    """A sandbox that never was differs from one whose record is damaged."""
    assert record.read(place) is None
    record.path(place).write_text("{")
    with pytest.raises(BadInput, match=r"sandbox\.json cannot be read"):
        record.read(place)


def test_the_lock_admits_one_command(place: Layout) -> None:
    """A second command is refused while the first is at work, and admitted after it."""
    with record.lock(place), pytest.raises(Refused, match="another command"), record.lock(place):
        pass
    with record.lock(place):
        pass


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a" * 32, "a b", "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    """Names go into paths: only a-z, 0-9 and hyphens, not too long."""
    with pytest.raises(BadInput, match="sandbox name"):
        layout.of(name)


@pytest.mark.parametrize(("scale", "seed", "word"), [(2.0, None, "scale"), (None, 8, "seed"), (2.0, 8, "scale")])
def test_another_filling_than_the_recorded_one_is_refused(scale: float | None, seed: int | None, word: str) -> None:
    """A filled sandbox is not filled again with something else, and does not pretend to be."""
    filled = _record(seeding=Seeding(scale=1.0, seed=7, complete=True))
    with pytest.raises(BadInput, match=word):
        seeding.check(filled, scale, seed)
    seeding.check(filled, 1.0, 7)
    seeding.check(filled, None, None)


def test_an_interrupted_filling_may_be_begun_with_other_values() -> None:
    """What is thrown away binds nobody."""
    seeding.check(_record(seeding=Seeding(scale=1.0, seed=7, complete=False)), 2.0, 8)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1001.0, float("nan"), float("inf")])
def test_a_senseless_scale_is_refused(scale: float) -> None:
    """Nothing, less than nothing and too much are refused before anything starts."""
    with pytest.raises(BadInput, match="scale"):
        seeding.check(None, scale, None)


def test_ports_of_other_sandboxes_come_from_their_records(place: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up or down, damaged or not: what the others recorded counts, one's own does not."""
    root = place.home.parent
    monkeypatch.setattr(record, "ROOT", root)
    for name, port in (("t", 1), ("other", 2)):
        home = root / ".sandbox" / name
        home.mkdir(parents=True)
        record.write(Layout(name, home), _record(name=name, ports={"a": port}))
    (root / ".sandbox" / "broken").mkdir()
    (root / ".sandbox" / "broken" / "sandbox.json").write_text("{")
    assert record.ports_of_others(Layout("t", root / ".sandbox" / "t")) == {2}
    assert ports.free(ports.choose(["a"])["a"])
