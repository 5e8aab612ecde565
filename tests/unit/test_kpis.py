"""KPIs are measured from enough samples or said not to be; a target that is missed says so."""

from __future__ import annotations

import json
from pathlib import Path

from traffic_fakes import environment, line

from rollout import kpis

T0 = 1_800_000_000_000


def measured(tmp_path: Path, text: str) -> dict[str, kpis.Kpi]:
    env = environment(tmp_path)
    Path(env.load_balancer.log).write_text(text)
    return {k.name: k for k in kpis.measure(env, T0 / 1000, T0 / 1000 + 60)}


def test_groups_and_limits(tmp_path: Path) -> None:
    """Each endpoint group has its own mean; failed requests and threads do not count as content retrieval."""
    text = "".join(
        line(T0 + i, "green-1", method="POST", path="/campaigns", took=250)
        + line(T0 + i, "green-1", path="/messages/a/b", took=40)
        + line(T0 + i, "green-1", path="/messages/a/b/thread", took=9000)
        + line(T0 + i, "green-1", path="/messages/a/b", took=9000, status=500)
        for i in range(30)
    )
    found = measured(tmp_path, text)
    assert found["OLTP response, average"].verdict == "missed" and found["OLTP response, average"].value == 250
    content = found["content retrieval, average"]
    assert (content.verdict, content.value, content.n, content.unit) == ("met", 40, 30, "ms")


def test_too_few_or_damaged_is_not_measured(tmp_path: Path) -> None:
    """Nineteen samples, a damaged line and a dead database each give `not measured` and a reason, never a number."""
    few = "".join(line(T0 + i, "green-1", path="/dashboards/billing") for i in range(19))
    assert measured(tmp_path, few)["analytics dashboards, average"].value is None
    many = "".join(line(T0 + i, "green-1", path="/dashboards/billing") for i in range(50))
    assert measured(tmp_path, many)["analytics dashboards, average"].verdict == "met"
    found = measured(tmp_path, many + '{"t": oh\n')
    assert found["analytics dashboards, average"].verdict == "not measured"
    for kpi in found.values():
        assert kpi.verdict == "not measured" and kpi.reason and kpi.value is None
        json.dumps(kpi.to_dict(), allow_nan=False)
