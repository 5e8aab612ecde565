"""The bench's own arithmetic: windows of samples, promises, aims, and where pg_repack's time went."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rollout.bench import result
from rollout.bench.__main__ import main
from rollout.bench.programs import upgrades
from rollout.bench.promises import Promises
from rollout.bench.samples import Samples, quiet_from, window


def samples(*statements: tuple[float, float]) -> Samples:
    """Return samples of (due, latency)."""
    made = Samples()
    for due, latency in statements:
        made.add(due, latency, 0.0, failed=False)
    return made


def test_a_statement_belongs_to_the_window_in_which_it_was_due() -> None:
    """Whatever it waited for: a stall that began inside is counted inside, one that ended inside is not."""
    seen = window(samples((0.5, 3.0), (1.0, 0.002), (1.5, 7.0), (2.0, 0.001)), 1.0, 2.0)
    assert (seen.statements, seen.max_ms) == (2, 7000.0)


def test_the_client_s_own_lateness_is_told_apart() -> None:
    """It is in the latency, and the longest without it is told beside: of each statement, not of the worst two."""
    made = Samples()
    made.add(1.0, 0.5, 0.4, failed=False)
    made.add(1.1, 0.3, 0.0, failed=False)
    seen = window(made, 1.0, 2.0)
    assert (seen.max_ms, seen.client_lag_max_ms, seen.max_beside_lag_ms) == (500.0, 400.0, 300.0)


def test_a_window_without_statements_has_no_figures() -> None:
    """No data is no figure, above all not a good one."""
    assert window(samples((0.5, 3.0)), 1.0, 2.0).max_ms is None


def test_quiet_is_where_nothing_is_in_flight() -> None:
    """The backlog of a stall moves the end until a gap between two answers and the next statement."""
    backlog = samples((0.0, 5.0), (1.0, 4.5), (5.2, 1.0), (6.1, 0.5), (7.0, 0.001))
    assert quiet_from(backlog, 2.0) == pytest.approx(6.6)
    assert quiet_from(backlog, 6.8) == pytest.approx(6.8)


def test_only_keys_that_must_be_there_are_worked_on() -> None:
    """Deleted, doubtful and busy keys are not picked; a key given out twice is a row that was replaced."""
    promises = Promises(seeded=4, chance=random.Random(1))
    promises.revisions[1] = None
    promises.busy.add(2)
    promises.doubt(3)
    assert {promises.pick() for _ in range(50)} == {4}
    promises.insert(5, 1)
    promises.insert(5, 2)
    assert promises.twice == 1
    assert {promises.pick() for _ in range(50)} == {4, 5}


def ours(rows: int, **figures: Any) -> result.Object:
    """Return an object of the engine's."""
    return {"tool": result.OURS, "rows": rows, **dict.fromkeys(result.FIGURES), **figures}


def reached(objects: list[result.Object], aim: str) -> list[bool | None]:
    """Return what became of an aim, by size."""
    return [a["reached"] for a in result.aims(objects) if a["aim"].startswith(aim)]


def test_aims_are_reached_missed_or_not_measured() -> None:
    """Each aim has its own direction, and no figure is neither reached nor missed."""
    objects = [
        ours(100, copy_share_of_offline=0.55, swap_ms=50, rows_per_s=100),
        ours(200, copy_share_of_offline=0.45, swap_ms=50.1, rows_per_s=79),
    ]
    assert reached(objects, "copy, of") == [True, False]
    assert reached(objects, "swap") == [True, False]
    assert reached(objects, "rollback") == [None, None]
    assert reached(objects, "spread") == [False]
    assert reached(objects[:1], "spread") == [None]


@pytest.mark.parametrize("arguments", [["--rows", "10"], ["--rows", "x"], ["--tools", "other"], ["--seconds", "0"]])
def test_bad_input_ends_with_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any server is started."""
    monkeypatch.setattr("sys.argv", ["bench", "change", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_an_installation_that_upgrades_a_server_is_seen() -> None:
    """What is new has no installed version in brackets; what is replaced has."""
    planned = """Inst libpq5 [15.18-0+deb12u1] (15.20-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst postgresql-15 [15.18-0+deb12u1] (15.20-0+deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst postgresql-15-repack (1.4.8-1+deb12u1 Debian-Security:12/oldstable-security [amd64])
Conf postgresql-15-repack (1.4.8-1+deb12u1 Debian-Security:12/oldstable-security [amd64])
"""
    assert upgrades(planned) == ["libpq5", "postgresql-15"]
    assert upgrades(planned.splitlines()[2]) == []
