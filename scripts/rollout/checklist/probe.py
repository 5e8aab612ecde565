"""A probe: a small function that observes one thing and says where and when; it never judges, and never raises to its caller.

What cannot be read has no value and a reason. What was read but cannot decide (too small a load, say) has a value and says why it
is `inconclusive`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from rollout import journal
from rollout.checklist.declared import Declared, Item
from rollout.environment import Environment
from rollout.journal import Examined
from rollout.objectstore import ObjectStore
from rollout.order import RunState


@dataclass(frozen=True)
class Observation:
    """What a probe saw: `value` in the threshold's unit from `n` samples, `observed` in words, and `source`.

    `inconclusive`: why the value decides nothing; `attested`: whose word it rests on, when it is within the limit; `reason`: why
    there is no value; `failed`: the words say failure, whatever the value; `since` and `until`: the window (epoch seconds), None
    for a state; `at`: when it was read.
    """

    value: float | None = None
    n: int = 1
    observed: str = ""
    source: str = ""
    inconclusive: str = ""
    attested: str = ""
    reason: str = ""
    failed: bool = False
    since: float | None = None
    until: float | None = None
    at: float = field(default_factory=time.time)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values; a value that is no finite number is none."""
        finite = self.value is not None and math.isfinite(self.value)
        return {
            **asdict(self), "value": self.value if finite else None,
            "reason": self.reason if finite or self.reason or self.failed else "the value is not a finite number",
        }  # fmt: skip


@dataclass
class Asked:
    """What a probe may look at: the environment, the run's store and state, and the window (epoch seconds) of what flows."""

    environment: Environment
    store: ObjectStore
    state: RunState
    declared: Declared
    since: float
    until: float
    item: Item | None = None

    @cached_property
    def journal(self) -> Examined:
        """The run's journal, read and verified once for all items."""
        return journal.examine(self.store, self.state.run)

    @cached_property
    def latest(self) -> dict[str, dict[str, Any]]:
        """The facts of the newest event of each kind in the journal."""
        return {event.kind: dict(event.facts) for event in self.journal.events}

    @cached_property
    def requests(self) -> Any:
        """The requests of the window, read from the balancer's log once for all items."""
        from rollout.checklist.requests import Requests

        return Requests.read(self)

    def parameter(self, name: str) -> Any:
        """Return a parameter of the item at hand; KeyError is a defect of checklist.yml."""
        assert self.item is not None
        return self.item.with_[name]

    def short_of(self, value: float, why: str) -> str:
        """Return `why` when a value is not within the item's threshold: too little was asked of the system to judge it."""
        assert self.item is not None
        assert self.item.threshold is not None
        return "" if self.item.threshold.met(value) else why

    def fact(self, name: str) -> Any:
        """Return a fact of the run, or None."""
        return self.state.facts.get(name)

    def facts(self, prefix: str) -> dict[str, Any]:
        """Return the run's stamped facts `prefix.<host>` by host; one without a stamp counts as older than any."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): {"token": 0, **value}
            for name, value in self.state.facts.items()
            if name.startswith(start) and isinstance(value, dict)
        }


Probe = Callable[[Asked], Observation]
REGISTER: dict[str, tuple[str, Probe]] = {}


def probe(name: str, reads: str) -> Callable[[Probe], Probe]:
    """Register a probe; it `reads` a `window`, the `run` (facts that steps left) or the `state` of things as they are now."""

    def register(function: Probe) -> Probe:
        REGISTER[name] = (reads, function)
        return function

    return register


def observe(asked: Asked, item: Item) -> Observation:
    """Run an item's probe; whatever it raises is a reason, never a verdict."""
    assert item.probe is not None
    asked.item = item
    if item.probe not in REGISTER:
        return Observation(reason=f"there is no probe {item.probe!r}")
    try:
        return REGISTER[item.probe][1](asked)
    except Exception as error:  # noqa: BLE001  what cannot be read leaves the item open
        first = (str(error).splitlines() or [""])[0]
        return Observation(reason=f"{type(error).__name__}: {first[:200]}", source=item.probe)


def moment(at: float) -> str:
    """Return an instant as UTC, ISO 8601, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
