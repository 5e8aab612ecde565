"""The journal of a run: events that are only ever added, each chained to the one before it.

    runs/<run>/journal/00000001.json ...   one event an object, canonical JSON, made with If-None-Match
    runs/<run>/journal-head.json           the highest event known to be written (seq and SHA-256), so that cutting
                                           off the end shows as well as an edit in the middle

A kill between an event and the head leaves the head one behind; the next event raises it. The store is the
authority; `<mirror>/<run>/journal.jsonl` is a copy for people's eyes.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rollout.errors import Failed
from rollout.objectstore import AlreadyExists, Conflict, NotFound, ObjectStore

APPEND_DEADLINE_SECONDS = 30
NOTHING = hashlib.sha256(b"").hexdigest()


class Event(BaseModel):
    """One event. `seq` counts from 1; `time` is UTC, ISO 8601 with milliseconds, of the host that wrote it; `prev` is
    the SHA-256 (hex) of the previous event's bytes, or of nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seq: int
    time: str
    kind: str
    run: str
    token: int
    operator: str
    host: str
    facts: dict[str, JsonValue]
    prev: str

    def canonical(self) -> bytes:
        """Return the one form of this event: sorted keys, no blanks, UTF-8, no NaN."""
        return json.dumps(
            self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()


class Tail(NamedTuple):
    """The last event: its number and the SHA-256 of its bytes."""

    seq: int
    sha256: str


class Examined(NamedTuple):
    """A journal that was read once: its events in order, those left out that are none, and what is wrong with the chain."""

    events: list[Event]
    problems: list[str]


class Journal:
    """The journal of one run for one writer; it remembers the tail, so that an append costs three requests."""

    def __init__(
        self, store: ObjectStore, run: str, *, token: int = 0, operator: str = "", mirror: Path | None = None
    ) -> None:
        """`mirror`: folder that gets `<run>/journal.jsonl`."""
        self.store = store
        self.run = run
        self.token = token
        self.operator = operator or getpass.getuser()
        self.mirror = mirror / run / "journal.jsonl" if mirror else None
        self._tail: Tail | None = None

    def append(self, kind: str, **facts: JsonValue) -> Event:
        """Add an event and return it; raise Failed when others were always first for 30 s."""
        deadline = time.monotonic() + APPEND_DEADLINE_SECONDS
        if self._tail is None:
            self._tail = self._from_head()
        while True:
            event = self._event(kind, facts, self._tail)
            body = event.canonical()
            try:
                self.store.create(_key(self.run, event.seq), body)
                break
            except AlreadyExists:
                if time.monotonic() > deadline:
                    raise Failed(
                        f"event {kind} of run {self.run} could not be added: other writers were always first",
                        limit=f"{APPEND_DEADLINE_SECONDS} s",
                        next="give the same command again",
                    ) from None
                self._tail = self._gallop(self._tail)
        self._tail = Tail(event.seq, hashlib.sha256(body).hexdigest())
        self._raise_head(self._tail, deadline)
        self._copy(body)
        return event

    def _event(self, kind: str, facts: dict[str, JsonValue], tail: Tail) -> Event:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Event(
            seq=tail.seq + 1,
            time=now,
            kind=kind,
            run=self.run,
            token=self.token,
            operator=self.operator,
            host=socket.gethostname(),
            facts=facts,
            prev=tail.sha256,
        )

    def _from_head(self) -> Tail:
        """Take the head's word for the tail, even when its event is gone: going on behind it keeps the gap visible."""
        found = _head(self.store, self.run)
        return found[0] if found else Tail(0, NOTHING)

    def _gallop(self, known: Tail) -> Tail:
        """Find the last event by doubling steps and halving them again: the way grows with the logarithm of the lag."""
        low, step = known.seq + 1, 1
        while self.store.exists(_key(self.run, low + step)):
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.store.exists(_key(self.run, middle)) else (low, middle)
        return Tail(low, hashlib.sha256(self.store.read(_key(self.run, low))[0]).hexdigest())

    def _raise_head(self, tail: Tail, deadline: float) -> None:
        body = json.dumps(tail._asdict(), sort_keys=True).encode()
        while time.monotonic() < deadline:
            found = _head(self.store, self.run)
            with contextlib.suppress(AlreadyExists, Conflict):
                if found is None:
                    self.store.create(_head_key(self.run), body)
                elif found[0].seq < tail.seq:
                    self.store.replace(_head_key(self.run), body, found[1])
                return
        # The event itself is written, and whoever was faster has raised the head: nothing is lost by leaving it here.

    def _copy(self, body: bytes) -> None:
        if self.mirror is None:
            return
        with contextlib.suppress(OSError):  # a full disk under the copy must not stop a rollback
            self.mirror.parent.mkdir(parents=True, exist_ok=True)
            line = os.open(self.mirror, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(line, body + b"\n")
            finally:
                os.close(line)


def append(store: ObjectStore, run: str, kind: str, **facts: JsonValue) -> Event:
    """Add one event to a run outside any session (token 0); a session's events go through its own `journal`."""
    return Journal(store, run).append(kind, **facts)


def read(store: ObjectStore, run: str) -> Iterator[Event]:
    """Yield the events of a run in order, one at a time; raise Failed at one that cannot be understood."""
    for key in store.keys(_prefix(run)):
        try:
            yield Event.model_validate_json(store.read(key)[0])
        except ValidationError:
            raise Failed(
                f"{key} is no event", next="keep the bucket as it is, and read the page", page="runbooks/audit.md"
            ) from None


def check(store: ObjectStore, run: str) -> list[str]:
    """Compare every event with its place, its predecessor and the head; return what is wrong, nothing when intact."""
    return examine(store, run).problems


def examine(store: ObjectStore, run: str) -> Examined:
    """Return the events of a run and what is wrong with them, nothing when intact.

    The head is read first, so that a journal may grow meanwhile.
    """
    head = _head(store, run)
    events: list[Event] = []
    problems: list[str] = []
    last = Tail(0, NOTHING)
    seen_head = head is None
    for key in store.keys(_prefix(run)):
        try:
            body, _ = store.read(key)
            event = Event.model_validate_json(body)
        except (NotFound, ValidationError):
            problems.append(f"{key} is no event")
            continue
        events.append(event)
        last_expected = last.seq + 1
        if key != _key(run, last_expected):
            problems.append(f"gap: {_key(run, last_expected)} is missing before {key}")
        if key != _key(run, event.seq) or event.run != run:
            problems.append(f"{key} holds event {event.seq} of run {event.run}")
        if event.canonical() != body:
            problems.append(f"{key} is not in canonical form")
        if event.prev != last.sha256:
            problems.append(f"{key} does not follow from the event before it: that one, or this one, was changed")
        last = Tail(_number(key), hashlib.sha256(body).hexdigest())
        if head and last.seq == head[0].seq:
            seen_head = True
            if last.sha256 != head[0].sha256:
                problems.append(f"{key} was changed: the head records another SHA-256 for it")
    if not seen_head and head:
        problems.append(f"truncated: the head records event {head[0].seq}, the last one found is {last.seq}")
    if head is None and last.seq > 1:
        problems.append("the head is missing")
    return Examined(events, problems)


def _head(store: ObjectStore, run: str) -> tuple[Tail, str] | None:
    try:
        body, etag = store.read(_head_key(run))
    except NotFound:
        return None
    try:
        found = json.loads(body)
        return Tail(int(found["seq"]), str(found["sha256"])), etag
    except (ValueError, KeyError, TypeError):
        raise Failed(
            f"{_head_key(run)} cannot be understood",
            next="keep the bucket as it is, and read the page",
            page="runbooks/audit.md",
        ) from None


def _number(key: str) -> int:
    stem = key.rpartition("/")[2].removesuffix(".json")
    return int(stem) if stem.isdigit() else 0


def _prefix(run: str) -> str:
    return f"runs/{run}/journal/"


def _key(run: str, seq: int) -> str:
    return f"{_prefix(run)}{seq:08d}.json"


def _head_key(run: str) -> str:
    return f"runs/{run}/journal-head.json"
