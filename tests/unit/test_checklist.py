"""The checklist: only a measured value within its limit, or a person's word, is a tick; and it goes stale with a way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memorystore import MemoryStore, as_store
from road_fakes import begin, passed
from traffic_fakes import environment, line

from rollout import checklist, runs
from rollout.checklist import attestation, declared, judging, measuring
from rollout.checklist.probe import Asked, Observation, observe
from rollout.environment import Environment
from rollout.errors import BadInput

PROOF = {"rows": 10, "tables": 2, "objects": 0, "differences_total": 0, "at": 4_000_000_000.0}
GOOD: dict[str, Any] = {"some_change": {"rows": 7}}
BAD: dict[str, Any] = {"some_change": {"rows": 0, "failed": "both sides differ"}}
SWAPPING = ("pg-content-1", "pg-queue-1", "pg-olap-1")
T0 = 1_800_000_000_000


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    """Four live databases, four in staging."""
    base = environment(tmp_path)
    staging = [d.model_copy(update={"host": f"staging-{d.host}", "host_set": "staging"}) for d in base.databases]
    return base.model_copy(update={"databases": base.databases + staging})


def built(memory: MemoryStore, env: Environment) -> dict[str, Any]:
    """Return the checklist of the newest run."""
    state = runs.current(as_store(memory))
    assert state is not None
    return checklist.build(env, as_store(memory), state)


def items(memory: MemoryStore, env: Environment) -> dict[str, tuple[str, str]]:
    """Return verdict and observation by item."""
    return {i["id"]: (i["verdict"], i["observed"]) for i in built(memory, env)["items"]}


def asked(memory: MemoryStore, env: Environment, text: str) -> Asked:
    """Return a question about a minute of the balancer's log."""
    Path(env.load_balancer.log).write_text(text)
    begin(memory, "1")
    state = runs.current(as_store(memory))
    assert state is not None
    return Asked(env, as_store(memory), state, declared.load(), T0 / 1000, T0 / 1000 + 60)


def test_the_declared_file_is_the_seeds() -> None:
    """21 items in four groups, twelve KPIs in three tables, thirteen criteria; every probe that is named is there."""
    found = declared.load()
    assert [len(g.items) for g in found.groups] == [6, 5, 5, 5] and [len(t.rows) for t in found.kpis] == [4, 4, 4]
    assert sum(len(g.items) for g in found.criteria) == 13
    assert {i.probe for i in found.all() if i.probe} <= set(measuring.REGISTER)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("probe: requests_mean", "prob: requests_mean", "Extra inputs"),
        ("threshold: {below: 200, unit: ms}", "threshold: {below: 200, at_least: 1, unit: ms}", "one of below"),
        ("id: oltp_response", "id: content_retrieval", "twice"),
        ("item: oltp_response", "item: oltp_responses", "unknown items"),
        ("        threshold: {below: 200, unit: ms}\n", "", "a probe has a threshold"),
    ],
)
def test_a_typo_in_it_is_an_error(tmp_path: Path, old: str, new: str, what: str) -> None:
    """A key, a threshold or a name that is wrong is said before anything is measured."""
    path = tmp_path / "checklist.yml"
    path.write_text(declared.PATH.read_text().replace(old, new, 1))
    with pytest.raises(BadInput, match=what):
        declared.load(path)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Observation(199.9, 20, "x", "s"), "pass"),
        (Observation(200.0, 20, "x", "s"), "fail"),
        (Observation(1.0, 19, "x", "s"), "not measured"),
        (Observation(float("nan"), 50, "x", "s"), "not measured"),
        (Observation(None, 50, "x", "s", reason="away"), "not measured"),
        (Observation(1.0, 50, "x", "s", inconclusive="too small"), "inconclusive"),
        (Observation(None, 50, "x", "s", failed=True), "fail"),
        (None, "not measured"),
    ],
)
def test_verdicts(seen: Observation | None, verdict: str) -> None:
    """The limit is exclusive; few samples, NaN, nothing and an exception are no pass; every pass has observed and source."""
    item = declared.load().find("oltp_response")
    shown = judging.judge(item, seen.to_dict() if seen else None, None)
    assert shown["verdict"] == verdict
    assert verdict != "pass" or (shown["observed"] and shown["source"] and shown["measured_at"])
    json.dumps(shown, allow_nan=False)


def test_requests_by_kind(env: Environment) -> None:
    """Each kind has its own mean; failed requests, client errors and threads are not content retrieval; slow ones fail."""
    text = "".join(
        line(T0 + i, "green-1", method="POST", path="/campaigns", took=250)
        + line(T0 + i, "green-1", path="/messages/a/b", took=40)
        + line(T0 + i, "green-1", path="/messages/a/b/thread", took=9000)
        + line(T0 + i, "green-1", path="/messages/a/b", took=9000, status=500)
        for i in range(30)
    )
    question = asked(MemoryStore(), env, text)
    seen = measuring.each(question, declared.load().all(), ("window",))
    shown = {i.id: judging.judge(i, seen.get(i.id), None) for i in declared.load().all()}
    assert (shown["oltp_response"]["verdict"], shown["oltp_response"]["value"]) == ("fail", 250)
    assert (shown["content_retrieval"]["verdict"], shown["content_retrieval"]["value"]) == ("pass", 40)
    assert shown["analytics_queries"]["verdict"] == "not measured"
    assert "120" in shown["availability"]["observed"] and shown["availability"]["verdict"] == "not measured"
    assert shown["queue_failures"]["verdict"] == "not measured" and "OperationalError" in shown["queue_failures"]["observed"]


def test_a_damaged_log_measures_nothing(env: Environment) -> None:
    """What was read of a log that cannot be read in full is no measurement."""
    text = "".join(line(T0 + i, "green-1", path="/dashboards/billing") for i in range(50))
    question = asked(MemoryStore(), env, text + '{"t": oh\n')
    seen = observe(question, declared.load().find("analytics_queries"))
    assert seen.value is None and "damaged line" in seen.reason


def test_one_result_per_planned_place(env: Environment) -> None:
    """Backups pass with all of four copies, are not measured with three, and fail when one differs or is old."""
    memory = MemoryStore()
    session = begin(memory, "1")
    session.set_fact("snapshot.token", session.token)
    hosts = [d.host for d in env.databases if d.host_set == "staging"]
    for host in hosts[:3]:
        session.set_fact(f"proof.{host}", {**PROOF, "token": session.token})
    verdict, observed = items(memory, env)["backups"]
    assert verdict == "not measured" and "3 of 4" in observed
    session.set_fact(f"proof.{hosts[3]}", {**PROOF, "token": session.token})
    assert items(memory, env)["backups"][0] == "pass"
    session.set_fact(f"proof.{hosts[0]}", {**PROOF, "at": 1.0, "token": session.token})
    verdict, observed = items(memory, env)["backups"]
    assert verdict == "fail" and "h old" in observed
    session.set_fact(f"proof.{hosts[0]}", {**PROOF, "differences_total": 1, "token": session.token})
    assert items(memory, env)["backups"][0] == "fail"
    session.set_fact("snapshot.token", session.token + 1)
    assert items(memory, env)["backups"] == (
        "not measured", "0 of 4 copies restored and compared, 0 rows and keys, 0 differences")  # fmt: skip


def test_a_comparison_that_fails_fails(env: Environment) -> None:
    """Data integrity needs every database that rewrites; one that differs makes it fail, whatever the others say."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    session = begin(memory, "3")
    stamp = {"phase": "3", "token": session.token}
    for host in SWAPPING[:2]:
        session.set_fact(f"compared.{host}", {"changes": GOOD, **stamp})
    verdict, observed = items(memory, env)["data_integrity"]
    assert verdict == "not measured" and "2 of 3" in observed
    session.set_fact(f"compared.{SWAPPING[2]}", {"changes": GOOD, **stamp})
    assert items(memory, env)["data_integrity"][0] == "pass"
    session.set_fact(f"compared.{SWAPPING[0]}", {"changes": BAD, **stamp})
    verdict, observed = items(memory, env)["data_integrity"]
    assert verdict == "fail" and "both sides differ" in observed
    criteria = [item for group in built(memory, env)["criteria"] for item in group["items"]]
    (nothing_lost,) = [item for item in criteria if item["id"] == "nothing_lost"]
    assert nothing_lost["verdict"] == "fail" and "data_integrity fail" in nothing_lost["observed"]


def test_measurements_go_stale_with_a_rollback(env: Environment) -> None:
    """A rollback that measured nothing yet does not show what phase 3 did, nor does phase 2 after it."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    session = begin(memory, "3")
    seen = {"oltp_response": Observation(1.0, 50, "1 ms", "s").to_dict()}

    def kept() -> tuple[str, str]:
        found = items(memory, env)
        return found["data_integrity"][0], found["oltp_response"][0]

    def measured(at: Any, phase: str) -> None:
        for host in SWAPPING:
            at.set_fact(f"compared.{host}", {"changes": GOOD, "phase": phase, "token": at.token})
        at.set_fact("measured", {"items": seen, "phase": phase, "token": at.token})

    measured(session, "3")
    session.passed()
    assert kept() == ("pass", "pass")
    back = begin(memory, "rollback")
    back.set_fact("traffic_back", {"before": 0, "after": 0, "seconds": 0, "token": back.token})
    assert kept() == ("not measured", "not measured")
    measured(back, "rollback")
    assert kept() == ("pass", "pass")
    back.passed()
    assert kept() == ("pass", "pass")
    begin(memory, "2")
    assert kept() == ("not measured", "not measured")


def test_a_persons_word(env: Environment) -> None:
    """It is asked for by item, kept in the journal, and the newest counts; a measured item has none, an empty note is none."""
    memory = MemoryStore()
    begin(memory, "1")
    state = runs.current(as_store(memory))
    assert state is not None
    assert "invoke checklist.attest --item auto_scaling" in items(memory, env)["auto_scaling"][1]
    for note in ("first", "second"):
        attestation.attest(as_store(memory), state.run, "auto_scaling", "Auditor", note)
    verdict, observed = items(memory, env)["auto_scaling"]
    assert verdict == "attested" and "Auditor attests: second" in observed
    wrong = (("oltp_response", "a", "b"), ("nosuch", "a", "b"), ("auto_scaling", "", "b"), ("auto_scaling", "a", " "))
    for item, by, note in wrong:
        with pytest.raises(BadInput):
            attestation.attest(as_store(memory), state.run, item, by, note)


def test_every_face_says_the_same(env: Environment) -> None:
    """Markdown, HTML and JSON render from one content; what a person typed is escaped; the verdict on the run stands first."""
    memory = MemoryStore()
    passed(memory, "1", "2", "3")
    state = runs.current(as_store(memory))
    assert state is not None
    attestation.attest(as_store(memory), state.run, "auto_scaling", "<b>", "a | b <script>")
    content = built(memory, env)
    faces = {form: checklist.render(content, form) for form in checklist.FORMATS}
    assert json.loads(faces["json"])["verdict"]["word"] == "pass"
    assert faces["html"].index("The rollout passed") < faces["html"].index("Performance validation")
    assert "<script" not in faces["html"] and "a \\| b" in faces["md"]
    for item in content["items"]:
        assert item["verdict"] != "pass" or (item["observed"] and item["source"])
        assert f'id="{item["id"]}"' in faces["html"]


def test_the_journal_is_read_once(env: Environment) -> None:
    """Events, attestations, the chain's verdict and the audit's item come from one reading of each event."""
    memory = MemoryStore()
    begin(memory, "1")
    read: list[str] = []
    store, state = as_store(memory), runs.current(as_store(memory))
    assert state is not None
    one = store.read

    def counted(key: str, *given: Any, **more: Any) -> Any:
        read.append(key)
        return one(key, *given, **more)

    store.read = counted  # type: ignore[method-assign]
    found = checklist.build(env, store, state, fresh=True)
    events = [key for key in read if "/journal/" in key]
    assert found["journal"]["events"] == len(events) == len(set(events)) > 0


def test_the_verdict_in_words(env: Environment) -> None:
    """What a stranger reads first: that it passed and what failed all the same, that it did not, that it is under way."""
    memory = MemoryStore()
    passed(memory, "1", "2")
    session = begin(memory, "3")
    session.set_fact("references", {"scanned_rows": 9, "wrong_rows": 2})
    under_way = built(memory, env)["verdict"]
    assert under_way["headline"] == "The rollout is under way" and "1 (prepare), 2 (rollout)" in under_way["text"]
    session.passed()
    found = built(memory, env)
    assert found["verdict"]["headline"] == "The rollout passed, but 1 of 21 checks failed" and found["verdict"]["word"] == "pass"
    (failed,) = [item for item in found["items"] if item["verdict"] == "fail"]
    assert failed["id"] == "cross_database" and "invoke references" in failed["next"]
    assert {item["next"] for item in found["items"] if item["verdict"] != "fail"} == {""}
    assert [figure["text"].startswith("not measured") for figure in found["figures"][:3]] == [True] * 3


def test_a_persons_word_on_what_is_kept(env: Environment) -> None:
    """References that are kept by somebody's word make the item attested, with the name; one that is wrong besides fails it."""
    memory = MemoryStore()
    session = begin(memory, "1")
    for wrong, verdict in ((0, "attested"), (1, "fail")):
        session.set_fact("references", {"scanned_rows": 9, "wrong_rows": wrong, "kept_rows": 3, "kept_by": ["Ada: as found"]})
        found = items(memory, env)["cross_database"]
        assert found[0] == verdict and ("Ada: as found" in found[1]) == (verdict == "attested")


def test_what_monitoring_read_is_shown(env: Environment) -> None:
    """Readings and open alerts of phase 3's pass, and what could not be refreshed; none of it is an item."""
    memory = MemoryStore()
    session = begin(memory, "1")
    assert built(memory, env)["monitoring"] is None
    ran = [{"job": "a", "outcome": "failed", "why": "away"}, {"job": "b", "outcome": "done", "why": ""}]
    session.set_fact("monitoring", {"observed": "2026-01-31T04:00:00+00:00", "probes": [], "alerts": [], "ran": ran, "jobs": []})
    found = built(memory, env)
    assert [one["job"] for one in found["monitoring"]["failed"]] == ["a"] and len(found["items"]) == 21
