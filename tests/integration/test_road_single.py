"""One change taken back, discarded, paused: on every host of its tier, under a fence, and never under green's feet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from memorystore import MemoryStore, as_store
from road_fakes import begin, context, passed
from servers import Server, database
from traffic_fakes import FakeBalancer, environment

from rollout import order, runs, screen
from rollout.engine import changes, controls, ledger
from rollout.environment import Environment
from rollout.errors import BadInput, Failed, Fenced, Refused
from rollout.road import changing, pausing, phase, single
from rollout.road.context import Context

NAME = "003_queue_partitioning"
HOSTS = ("pg-queue-1", "pg-queue-2")
LATE = "INSERT INTO v2.jobs (id, payload, tenant_id) VALUES (gen_random_uuid(), '{}', gen_random_uuid())"


class Place:
    """Two queue databases behind a balancer, in a run whose phase 2 has swapped both."""

    def __init__(self, server: Server, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.balancer, self.memory, self.folder = FakeBalancer(), MemoryStore(), folder
        self.lines: list[dict[str, Any]] = []
        targets = [
            database(server, "queue", server.database("queue"), server.port).model_copy(update={"host": host})
            for host in HOSTS
        ]
        base = environment(folder, self.balancer.address, stall_budget_total_ms=5000, stall_budget_once_ms=500)
        self.env: Environment = base.model_copy(update={"databases": targets})
        # The change and what it requires: what is swapped on top of it would have to be taken back first.
        patch.setattr(changes, "plan", lambda tier, whole=changes.plan: whole(tier)[:2])
        for module in (single, phase):
            patch.setattr(module, "ObjectStore", lambda _: as_store(self.memory))
        passed(self.memory, "1")

    def forward(self, *steps: str) -> Context:
        """Begin phase 2 and run steps of it on both hosts."""
        self.session = begin(self.memory, "2")
        made = context(self.memory, self.env, self.folder, self.session)
        for step in steps:
            for host in HOSTS:
                getattr(changing, step)(made, host)
        return made

    def swapped(self) -> None:
        """Let phase 2 pass."""
        self.forward("expand", "swap")
        self.session.passed()

    def run(self, act: single.Act, **options: Any) -> single.Ended:
        """Take the change back, or discard it."""
        self.lines.clear()
        return single.run(self.env, NAME, act, self.lines.append, **options)

    def do(self, host: str, statement: str) -> Any:
        """Run a statement and return its first value, if it has one."""
        with psycopg.connect(self.env.database(host).conninfo(), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            row = done.fetchone() if done.description else None
        return row[0] if row else None

    def stages(self, name: str = NAME) -> list[Any]:
        """Return the change's stage on each host."""
        return [self.do(host, f"SELECT (SELECT stage FROM rollout.changes WHERE change = '{name}')") for host in HOSTS]

    def said(self) -> list[str]:
        """Return what was shown, without figures."""
        return [re.sub(r"\d+ ms", "N ms", f"{line['step']} {line['host']} {line['text']}") for line in self.lines]

    def state(self) -> runs.RunState:
        """Return the run's state."""
        found = runs.current(as_store(self.memory))
        assert found is not None
        return found


@pytest.fixture
def place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Two queue databases and a run whose phase 1 has passed."""
    made = Place(server, tmp_path, monkeypatch)
    yield made
    made.balancer.close()


def test_a_swapped_change_is_taken_back_and_goes_forward_again(place: Place) -> None:
    """On both hosts, compared, under a token of its own; phase 2 then has to pass again, and copies nothing."""
    place.swapped()
    token = place.state().token
    ended = place.run("revert", why="trying")
    assert (ended.hosts, ended.rejects) == (list(HOSTS), 0)
    assert place.said() == [
        *(f"revert {host} done: {NAME} N ms" for host in HOSTS),
        *(f"compare {host} done: compared 0 rows, 0 differences" for host in HOSTS),
    ]
    assert place.stages() == ["copied", "copied"]
    state = place.state()
    assert (state.token, state.lease, state.phases["2"].verdict) == (token + 1, None, "fail")
    assert state.phases["2"].why == f"{NAME} was taken back: trying"
    assert [place.do(host, "SELECT token FROM rollout.fence") for host in HOSTS] == [state.token] * 2
    with pytest.raises(BadInput, match=r"phase 2 of run .* has not passed"):
        order.decide(state, "3", state.plan_digest)
    place.swapped()
    assert place.stages() == ["swapped", "swapped"]
    assert place.state().phases["2"].verdict == "pass"


def test_nothing_is_taken_back_under_green(place: Place) -> None:
    """With a share on green, or nothing that serves, it refuses before it takes a lease, and proposes the rollback."""
    place.swapped()
    before = place.memory.objects.copy()
    place.balancer.rows["green-1"]["weight"] = 100
    with pytest.raises(Refused, match=r"33.* % of the traffic is on green.*\n.*invoke rollback") as refused:
        place.run("revert")
    assert refused.value.verdict == "fail"
    for row in place.balancer.rows.values():
        row["op"] = 0
    with pytest.raises(Refused) as refused:
        place.run("revert")
    assert refused.value.verdict == "inconclusive"
    assert (place.memory.objects, place.stages()) == (before, ["swapped", "swapped"])


def test_a_dry_run_changes_nothing(place: Place) -> None:
    """It says where what would be done, and takes no lease."""
    place.swapped()
    before = place.memory.objects.copy()
    assert place.run("revert", dry_run=True).hosts == list(HOSTS)
    assert place.said() == [f"revert {host} would: revert {NAME}, which is swapped" for host in HOSTS]
    assert (place.memory.objects, place.stages()) == (before, ["swapped", "swapped"])


def test_another_command_at_work_keeps_its_place(place: Place) -> None:
    """While a phase holds the lease nothing is taken back; the command that lost its token writes nothing any more."""
    forward = place.forward("expand", "swap")
    with pytest.raises(Refused, match="invoke deploy --phase 2 of ana is at work"):
        place.run("revert")
    place.memory.advance(1000)  # it slept; its lease ran out
    place.run("revert")
    with pytest.raises(Fenced):
        changing.swap(forward, HOSTS[0])
    assert place.stages() == ["copied", "copied"]


def test_a_revert_that_was_interrupted_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the hosts: the same command takes the other one back and compares both."""
    place.swapped()
    act = single._act

    def stopped(*given: Any) -> None:
        if given[2].database.host == HOSTS[1]:
            raise KeyboardInterrupt
        act(*given)

    monkeypatch.setattr(single, "_act", stopped)
    with pytest.raises(KeyboardInterrupt):
        place.run("revert")
    assert place.stages() == ["copied", "swapped"]
    assert place.state().lease is None
    monkeypatch.undo()
    monkeypatch.setattr(single, "ObjectStore", lambda _: as_store(place.memory))
    assert place.run("revert").hosts == [HOSTS[1]]
    assert [line for line in place.said() if line.startswith("compare")] == [
        f"compare {host} done: compared 0 rows, 0 differences" for host in HOSTS
    ]


def test_a_difference_fails_the_revert(place: Place) -> None:
    """What was taken back is compared; a difference is journaled and the shadow is worth nothing."""
    place.swapped()
    place.do(HOSTS[1], "ALTER TABLE v2.jobs DISABLE TRIGGER USER; " + LATE)
    with pytest.raises(Failed, match="both sides differ"):
        place.run("revert")
    assert place.stages() == ["copied", "mismatched"]
    kinds = [body for key, (body, _) in sorted(place.memory.objects.items()) if "/journal/" in key]
    assert b'"act_failed"' in kinds[-1]


def test_what_is_expanded_is_discarded(place: Place) -> None:
    """After a revert: the shadow goes on both hosts, a repeat finds nothing, and phase 2 begins anew."""
    place.swapped()
    with pytest.raises(Refused, match=rf"{NAME} is swapped on pg-queue-1: .*\n.*invoke change.revert --change {NAME}"):
        place.run("discard")
    place.run("revert")
    assert place.run("discard").hosts == list(HOSTS)
    assert place.stages() == [None, None]
    assert [place.do(host, "SELECT to_regclass('v2.jobs')") for host in HOSTS] == [None, None]
    again = place.run("discard")
    assert (again.hosts, again.run) == ([], "")
    place.swapped()


def test_a_change_that_another_one_requires_stays(place: Place) -> None:
    """The requirement may go only after what stands on it."""
    place.swapped()
    first = changes.plan("queue")[0].name
    with pytest.raises(Refused, match=rf"{NAME} requires {first} and is swapped on .*\n.*change.revert --change {NAME}"):
        single.run(place.env, first, "discard", place.lines.append)
    place.run("revert")
    with pytest.raises(Refused, match=rf"{NAME} requires {first} and is copied on .*\n.*change.discard --change {NAME}"):
        single.run(place.env, first, "discard", place.lines.append)
    place.run("discard")
    env = place.env.model_copy(update={"databases": place.env.databases[:1]})
    assert single.run(env, first, "discard", place.lines.append).hosts == [HOSTS[0]]
    assert place.stages(first) == [None, "compared"]


def test_past_the_point_of_no_return_nothing_is_taken_back(place: Place) -> None:
    """Nor where no run has begun."""
    place.swapped()
    begin(place.memory, "3").passed()
    session = begin(place.memory, "finalize")
    session.point_of_no_return()
    session.release()
    with pytest.raises(Refused, match="passed the point of no return"):
        place.run("revert")
    place.memory.objects.clear()
    with pytest.raises(BadInput, match="no run has begun"):
        place.run("revert")
    with pytest.raises(BadInput, match="no plan has a change '003_queue'"):
        single.run(place.env, "003_queue", "revert", place.lines.append)


def test_status_says_what_a_rollback_would_lose_and_what_is_paused(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Per change and host, live: rows that the old table cannot hold, and pauses."""
    place.swapped()
    assert phase.status(place.env)["lossless"] is True
    place.do(HOSTS[1], f"{LATE}; {LATE}")
    pausing.pause(place.env, NAME, place.lines.append, why="backup [at night]")
    seen = phase.status(place.env)
    assert (seen["lossless"], seen["rejects"]) == (False, 2)
    assert [d["at_risk"] for d in seen["databases"]] == [{NAME: 0}, {NAME: 2}]
    assert [list(d["paused"]) for d in seen["databases"]] == [[NAME], [NAME]]
    screen.status(seen, as_json=False)
    out = capsys.readouterr().out
    assert f"{NAME}: rollback is lossless: yes" in out
    assert f"{NAME}: rollback is lossless: no, 2 rows at risk" in out
    assert re.search(rf"{NAME}: paused since \S+ by \S+: backup \[at night\]", out)
    assert "rollback is lossless: no, 2 rows at risk\n" in out.splitlines(keepends=True)[-1]
    ended = place.run("revert")
    assert ended.rejects == 2
    assert phase.status(place.env)["lossless"] is True  # what was at risk was left behind, and stays in the ledger
    assert place.do(HOSTS[1], "SELECT count(*) FROM rollout.rejects WHERE taken_back IS NOT NULL") == 2
    with ledger.connect(place.env.database(HOSTS[1])) as connection:
        connection.execute("UPDATE rollout.rejects SET taken_back = NULL")
        assert ledger.rejects(connection) == 2
        connection.execute("UPDATE rollout.changes SET stage = 'contracted'")
        assert ledger.rejects(connection) == 0  # nothing can be taken back any more


def test_pausing_needs_a_ledger_on_every_host(place: Place) -> None:
    """What can be paused is; the hosts where nothing is copied yet are named."""
    with pytest.raises(Refused, match="no ledger on pg-queue-1, pg-queue-2: "):
        pausing.pause(place.env, NAME, place.lines.append, why="")
    forward = place.forward()
    changing.expand(forward, HOSTS[0])
    with pytest.raises(Refused, match=rf"no ledger on pg-queue-2: .*\n.*invoke change.pause --change {NAME}"):
        pausing.pause(place.env, NAME, place.lines.append, why="")
    changing.expand(forward, HOSTS[1])
    place.lines.clear()
    pausing.pause(place.env, NAME, place.lines.append, why="", dry_run=True)
    with ledger.connect(place.env.database(HOSTS[1])) as connection:
        assert controls.all_paused(connection) == []
    pausing.resume(place.env, NAME, place.lines.append)
    said = [line.split(" since ")[0] for line in place.said()]
    assert said == [
        f"pause {HOSTS[0]} would: pause {NAME} (paused", f"pause {HOSTS[1]} would: pause {NAME} (not paused)",
        f"resume {HOSTS[0]} done: {NAME} goes on; it was paused", f"resume {HOSTS[1]} done: {NAME} was not paused",
    ]  # fmt: skip
