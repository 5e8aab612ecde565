"""Redis lists against a real queue database: every kind of disagreement is named, and put right by its rule."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis
from servers import Server, database

from rollout import environment, snapshots
from rollout.environment import Database
from rollout.errors import BadInput
from rollout.seed import queue_keys
from rollout.snapshots import queue_consistency

Place = tuple[environment.Redis, Database]
LIST = "queue:email-sending"


@pytest.fixture(scope="module")
def home() -> Iterator[tuple[Server, int]]:
    """A Postgres and a Valkey."""
    started = Server()
    try:
        yield started, started.valkey()
    finally:
        started.stop()


@pytest.fixture(params=["as found", "after the swap"])
def place(home: tuple[Server, int], request: pytest.FixtureRequest) -> Place:
    """A queue database as found, or with a view in the place of the table, and the empty Redis beside it."""
    server, port = home
    redis.Redis(port=port).flushall()
    found = database(server, "queue", server.database("queue"), server.port)
    if request.param != "as found":
        with psycopg.connect(found.conninfo()) as connection:
            connection.execute("CREATE SCHEMA v2")
            connection.execute("ALTER TABLE jobs SET SCHEMA v2")
            connection.execute("CREATE VIEW public.jobs WITH (security_invoker) AS SELECT * FROM v2.jobs")
            connection.execute("ALTER VIEW public.jobs ALTER id SET DEFAULT gen_random_uuid()")
    return environment.Redis(host="redis-1", host_set="live", address="127.0.0.1", port=port), found


def _jobs(place: Place, status: str, count: int) -> list[uuid.UUID]:
    with psycopg.connect(place[1].conninfo()) as connection:
        rows = connection.execute(
            "INSERT INTO jobs (queue_name, status, payload, attempt_count) SELECT 'email-sending', %s, '{\"a\": 1}', 3"
            " FROM generate_series(1, %s) RETURNING id",
            [status, count],
        ).fetchall()
    return [identity for (identity,) in rows]


def _push(place: Place, name: str, ids: list[uuid.UUID]) -> None:
    with redis.Redis(port=place[0].port) as client, client.pipeline(transaction=False) as pipe:
        for identity in ids:
            pipe.lpush(name, json.dumps({"id": str(identity), "queue_name": "email-sending", "payload": {"a": 1}}))
        pipe.execute()


def _ids(place: Place, name: str) -> list[uuid.UUID]:
    entries = redis.Redis(port=place[0].port).lrange(name, 0, -1)
    return [uuid.UUID(json.loads(entry)["id"]) for entry in entries]  # type: ignore[union-attr]


def _statuses(place: Place) -> dict[uuid.UUID, str]:
    with psycopg.connect(place[1].conninfo()) as connection:
        return dict(connection.execute("SELECT id, status FROM jobs").fetchall())


def test_every_class_is_found_and_put_right(place: Place) -> None:
    """A look changes nothing; a reconciliation leaves what agrees, in its order, and a second one has nothing to do."""
    client = redis.Redis(port=place[0].port)
    good = _jobs(place, "migrated_to_redis", 3000)
    done, dead = _jobs(place, "completed", 2500), _jobs(place, "failed", 5)
    early, working, missing = (
        _jobs(place, "queued", 3),
        _jobs(place, "processing", 2),
        _jobs(place, "migrated_to_redis", 2100),
    )
    unknown = [uuid.uuid4() for _ in range(40)]
    mixed = [x for pair in zip(good[:2500], done, strict=True) for x in pair] + good[2500:] + unknown[:30] + early
    _push(place, LIST, mixed)
    _push(place, f"{LIST}:high", [*unknown[30:], *working, good[0], dead[4]])
    client.rpush(f"{LIST}:low", "no entry", '{"id": "no uuid"}')
    _push(place, "queue:dead-letter", dead[:2])
    looked = snapshots.check_queue(*place)
    found = {name: one.found for name, one in looked.classes.items()}
    assert found == {"unreadable": 2, "unknown": 40, "done": 2501, "missing": 2100, "dead_unlisted": 3, "early": 3,
                     "other": 2, "doubled": 1}  # fmt: skip
    assert (
        not looked.applied and not looked.consistent and all(len(one.sample) <= 20 for one in looked.classes.values())
    )
    assert _ids(place, LIST)[::-1] == mixed
    did = snapshots.reconcile_queue(*place, apply=True)
    assert did.consistent and did.applied and {n: c.done for n, c in did.classes.items()} == {
        **found, "early": 0, "other": 0, "doubled": 0,
    }  # fmt: skip
    assert _ids(place, LIST)[::-1] == [*good, *early]
    assert _ids(place, f"{LIST}:high")[::-1] == [*working, good[0]]
    assert client.llen(f"{LIST}:low") == 0 and sorted(_ids(place, "queue:dead-letter")) == sorted(dead)
    kept = [json.loads(one) for one in client.lrange(did.quarantine, 0, -1)]  # type: ignore[union-attr]
    assert len(kept) == 42 and {one["why"] for one in kept} == {"unknown", "unreadable"}
    statuses = _statuses(place)
    assert {statuses[one] for one in missing} == {"queued"} and {statuses[one] for one in good} == {"migrated_to_redis"}
    again = snapshots.reconcile_queue(*place, apply=True)
    assert again.consistent and sum(one.done for one in again.classes.values()) == 0
    assert snapshots.QueueConsistency.model_validate_json(again.model_dump_json()) == again


def test_a_rule_can_be_to_keep_and_an_unknown_one_is_refused(place: Place) -> None:
    """What is kept stays, and the record says so."""
    _push(place, LIST, [uuid.uuid4()])
    did = snapshots.reconcile_queue(*place, rules={"unknown": "keep"}, apply=True)
    assert did.consistent and did.classes["unknown"].found == 1 and len(_ids(place, LIST)) == 1
    with pytest.raises(BadInput, match="unknown=remove"):
        snapshots.reconcile_queue(*place, rules={"unknown": "remove"})


def test_a_list_that_moved_meanwhile_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that are no longer where they were read stay, and the record says that not all is done."""
    good, done = _jobs(place, "migrated_to_redis", 3), _jobs(place, "completed", 3)
    _push(place, LIST, [*good, *done])
    command = queue_consistency.command

    def late(client: redis.Redis, *words: str | bytes | int) -> object:
        client.lpush(LIST, json.dumps({"id": str(good[0])}))
        return command(client, *words)

    monkeypatch.setattr(queue_consistency, "command", late)
    did = snapshots.reconcile_queue(*place, apply=True)
    assert not did.consistent and did.classes["done"].done < 3
    assert set(good) <= set(_ids(place, LIST))
    monkeypatch.undo()
    assert snapshots.reconcile_queue(*place, apply=True).consistent
    assert not set(done) & set(_ids(place, LIST))


def test_the_seeded_queue_agrees(place: Place) -> None:
    """What the seed writes on both sides is consistent: so the names are the product's own."""
    _jobs(place, "migrated_to_redis", 50)
    _jobs(place, "failed", 5)
    queue_keys.fill(place[0], place[1], [])
    looked = snapshots.check_queue(*place)
    assert looked.consistent and looked.jobs == 55, looked
