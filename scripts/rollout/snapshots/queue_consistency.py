"""The lists of Redis held against the jobs of the queue database, and what disagrees put right by rule.

Postgres decides, Redis only carries: so a job is never invented from an entry, and an entry whose job nobody knows goes
to a quarantine, not away. To be run while the application is drained; should it not be, then what a worker holds is left
alone or claimed by nobody twice, since a worker claims the row and drops an entry that the row does not bear out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from rollout import environment
from rollout.errors import BadInput
from rollout.snapshots.records import Progress, QueueClass, QueueConsistency, now, quiet
from rollout.snapshots.redis.client import command, connect

HERE = Path(__file__).parent
CHUNK = 2000
SAMPLE = 20
LISTS = "queue:*"
DEAD_LETTER = "queue:dead-letter"
QUARANTINE = "rollout:quarantine:"  # no worker looks there
CARRIED = "migrated_to_redis"
NIL = uuid.UUID(int=0)
_LUA = (HERE / "queue_entries.lua").read_text()
RULES: dict[str, str] = {
    "unreadable": "quarantine",  # an entry without an id: a worker would take it and put it back for ever
    "unknown": "quarantine",  # Redis has it, the database does not know it
    "done": "remove",  # completed or failed in the database, and in a workers' list
    "missing": "requeue",  # the database says that Redis has it, and it is in no list
    "dead_unlisted": "list",  # failed, and not among the dead letters
    "early": "keep",  # still queued: a push whose commit never came; workers drop it, the queuer pushes again
    "other": "keep",  # any other status
    "doubled": "keep",  # twice in the lists, worked once
}
KEEP = "keep"


def check_queue(
    server: environment.Redis, database: environment.Database, progress: Progress = quiet
) -> QueueConsistency:
    """Say how Redis and the queue database disagree; nothing is changed. Memory is bounded by 2,000 entries."""
    return _Work(server, database, dict(RULES), apply=False, progress=progress).run()


def reconcile_queue(
    server: environment.Redis,
    database: environment.Database,
    progress: Progress = quiet,
    *,
    rules: Mapping[str, str] | None = None,
    apply: bool = False,
) -> QueueConsistency:
    """Put right what disagrees, by the rule of its class, and return what was found and done; without `apply` only look.

    `rules` may set a class to `keep`; every other rule is the class's own. Repeatable: a second run finds what is left.
    Raise BadInput for a rule that is none.
    """
    chosen = {**RULES, **(rules or {})}
    wrong = [f"{name}={rule}" for name, rule in chosen.items() if rule not in {RULES.get(name), KEEP}]
    if wrong:
        raise BadInput(
            f"{wrong[0]} is no rule", limit=", ".join(f"{k}={v}" for k, v in RULES.items()), next="use one, or keep"
        )
    return _Work(server, database, chosen, apply=apply, progress=progress).run()


class _Work:
    """One walk through all lists, and then through the jobs that should be in one."""

    def __init__(
        self, server: environment.Redis, database: environment.Database, rules: dict[str, str], *, apply: bool,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.server, self.database, self.rules, self.apply, self.progress = server, database, rules, apply, progress
        self.started_at = now()
        self.quarantine = f"{QUARANTINE}{self.started_at:%Y-%m-%dT%H-%M-%SZ}"
        self.found = dict.fromkeys(RULES, 0)
        self.done = dict.fromkeys(RULES, 0)
        self.sample: dict[str, list[str]] = {name: [] for name in RULES}
        self.entries = 0

    def run(self) -> QueueConsistency:
        """Do it, and return the record."""
        conninfo = self.database.conninfo("rollout-queue-consistency")
        with connect(self.server) as self.client, psycopg.connect(conninfo, autocommit=True) as self.connection:
            self.connection.execute(_sql("queue_entries"))
            for name in sorted(self.client.scan_iter(match=LISTS, count=1000, _type="list")):
                self._list(name)
            self.connection.execute("ANALYZE redis_entries")
            row = self.connection.execute(_sql("queue_totals")).fetchone()
            assert row is not None
            jobs, self.found["doubled"] = row
            doubled = self.connection.execute(_sql("queue_doubled"), {"limit": SAMPLE})
            self.sample["doubled"] = [str(identity) for (identity,) in doubled]
            self._missing("missing", CARRIED, dead=False)
            self._missing("dead_unlisted", "failed", dead=True)
            if self._acts("missing"):
                self._requeue()
            if self._acts("dead_unlisted"):
                self._list_dead()
        classes = {
            name: QueueClass(
                found=self.found[name], sample=self.sample[name], rule=self.rules[name], done=self.done[name]
            )
            for name in RULES
        }
        quarantined = self.done["unknown"] + self.done["unreadable"]
        return QueueConsistency(
            redis=self.server.host, database=self.database.host, entries=self.entries, jobs=jobs, classes=classes,
            applied=self.apply, quarantine=self.quarantine if quarantined else "", started_at=self.started_at,
            finished_at=now(),
        )  # fmt: skip

    def _list(self, name: bytes) -> None:
        low, dead = 0, name.decode() == DEAD_LETTER
        while chunk := list(self.client.lrange(name.decode(), low, low + CHUNK - 1)):
            ids = [_identity(entry) for entry in chunk]
            known = [identity for identity in ids if identity is not None]
            with self.connection.cursor().copy("COPY redis_entries (id, dead) FROM STDIN") as copy:
                for one in known:
                    copy.write_row((one, dead))
            rows = self.connection.execute(_sql("queue_statuses"), {"ids": known}).fetchall()
            status: dict[uuid.UUID, str] = dict(rows)
            wrong: list[tuple[str, int, bytes]] = []
            for place, (entry, identity) in enumerate(zip(chunk, ids, strict=True)):
                what = _class(identity, status, dead=dead)
                if what is not None:
                    self._note(what, f"{name.decode()} {identity or entry[:40]!r}")
                    wrong.append((what, low + place, entry))
            self.entries += len(chunk)
            low += len(chunk) - self._take_out(name, wrong)
            self.progress("queue entries", self.entries, None)

    def _take_out(self, name: bytes, wrong: list[tuple[str, int, bytes]]) -> int:
        """Take a chunk's entries out of their list, by their rules, in one step; return how many are gone."""
        acted = [one for one in wrong if self._acts(one[0])]
        if not acted:
            return 0
        arguments: list[str | bytes | int] = [f"rollout:gone:{uuid.uuid4()}"]
        for what, index, entry in acted:
            kept = {"list": name.decode(), "why": what, "entry": entry.decode(errors="replace")}
            arguments += [index, entry, json.dumps(kept) if self.rules[what] == "quarantine" else ""]
        taken = command(self.client, "EVAL", _LUA, 2, name, self.quarantine, *arguments)
        for (what, _, _), there in zip(acted, taken, strict=True):
            self.done[what] += there
        return sum(taken)

    def _missing(self, what: str, status: str, *, dead: bool) -> None:
        values = {"status": status, "dead": dead, "limit": SAMPLE}
        rows = self.connection.execute(_sql("queue_missing"), values).fetchall()
        self.found[what] = rows[0][2] if rows else 0
        self.sample[what] = [f"{queue} {identity}" for identity, queue, _ in rows]

    def _requeue(self) -> None:
        while changed := self.connection.execute(_sql("queue_requeue"), {"limit": CHUNK}).rowcount:
            self.done["missing"] += changed
            self.progress("jobs given back to the queuer", self.done["missing"], self.found["missing"])

    def _list_dead(self) -> None:
        for jobs in self._dead():
            with self.client.pipeline(transaction=False) as pipe:
                for identity, queue, priority, payload in jobs:
                    entry = {"id": str(identity), "queue_name": queue, "priority": priority, "payload": payload}
                    pipe.lpush(DEAD_LETTER, json.dumps(entry))
                pipe.execute()
            self.done["dead_unlisted"] += len(jobs)

    def _dead(self) -> Iterator[list[tuple[uuid.UUID, str, int, Any]]]:
        after = NIL
        while jobs := self.connection.execute(_sql("queue_dead"), {"after": after, "limit": CHUNK}).fetchall():
            yield jobs
            after = jobs[-1][0]

    def _acts(self, what: str) -> bool:
        return self.apply and self.rules[what] != KEEP

    def _note(self, what: str, which: str) -> None:
        self.found[what] += 1
        if len(self.sample[what]) < SAMPLE:
            self.sample[what].append(which)


def _class(identity: uuid.UUID | None, status: dict[uuid.UUID, str], *, dead: bool) -> str | None:
    """Return how an entry disagrees with the database; None when it does not."""
    if identity is None:
        return "unreadable"
    if identity not in status:
        return "unknown"
    if dead or status[identity] == CARRIED:
        return None
    return {"completed": "done", "failed": "done", "queued": "early"}.get(status[identity], "other")


def _identity(entry: bytes) -> uuid.UUID | None:
    try:
        return uuid.UUID(json.loads(entry)["id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _sql(name: str) -> bytes:
    return (HERE / "sql" / f"{name}.sql").read_bytes()
