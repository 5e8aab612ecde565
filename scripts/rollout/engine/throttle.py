"""How pain slows a copy down: smoothly over a limit, not at all below it, to a stand at twice the limit.

Pure: time is told, nobody is asked. `pace` sleeps by it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from rollout.engine.gauges import Reading

REST_SHARE = 0.25  # of a chunk's time spent idle after it, so that a copy never takes all of a core
SLOWEST_SHARE = 10.0  # just short of a stand: eleven times slower
HOLDS_AT = 2.0  # limits
SMOOTH_SECONDS = 2.0  # time constant, up and down
REST_MAX_SECONDS = 2.0  # in one go: pauses, readings and the fence are looked at in between


class Brake:
    """How much of its time a copy rests (`share` of each chunk's time), whether it stands (`holding`), and because of what."""

    def __init__(self) -> None:
        self.share, self.holding = REST_SHARE, False
        self.why: Reading | None = None
        self.worst: dict[str, Reading] = {}
        self.slowed_seconds: dict[str, float] = defaultdict(float)
        self.held_seconds: dict[str, float] = defaultdict(float)

    def press(self, readings: Iterable[Reading], seconds: float) -> None:
        """Take in readings, `seconds` after the last ones. Once it holds, it does until all is back at its limit."""
        worst: Reading | None = None
        for reading in readings:
            before = self.worst.get(reading.measure)
            if before is None or reading.value > before.value:
                self.worst[reading.measure] = reading
            if worst is None or reading.pressure > worst.pressure:
                worst = reading
        pressure = worst.pressure if worst else 0.0
        self.holding = pressure > 1.0 if self.holding else pressure >= HOLDS_AT
        over = min(1.0, max(0.0, (pressure - 1.0) / (HOLDS_AT - 1.0)))
        wanted = REST_SHARE + over * (SLOWEST_SHARE - REST_SHARE)
        self.share += (wanted - self.share) * (1 - math.exp(-seconds / SMOOTH_SECONDS))
        if pressure > 1.0:
            self.why = worst
        elif self.share < 1.1 * REST_SHARE:
            self.share, self.why = REST_SHARE, None

    def rest(self, seconds: float) -> float:
        """Return for how long to rest after a chunk that took so many seconds, and note who is to blame."""
        rest = min(REST_MAX_SECONDS, seconds * self.share)
        if self.why:
            self.slowed_seconds[self.why.measure] += max(0.0, rest - seconds * REST_SHARE)
        return rest

    def held(self, seconds: float) -> None:
        """Note that the copy stood still for so long."""
        if self.why:
            self.held_seconds[self.why.measure] += seconds

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values: seconds by measure, and the worst value of each."""
        return {
            "slowed_seconds": {name: round(seconds, 2) for name, seconds in self.slowed_seconds.items() if seconds >= 0.01},
            "held_seconds": {name: round(seconds, 2) for name, seconds in self.held_seconds.items()},
            "worst": {name: reading.to_dict() for name, reading in self.worst.items()},
        }
