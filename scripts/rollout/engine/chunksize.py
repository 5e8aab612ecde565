"""How many rows the next chunk takes: as many as fit the target time, found from below and never by leaps."""

from __future__ import annotations

FIRST_LIMIT = 100
SMALLEST_LIMIT = 1  # rows of megabytes: even fifty of them would be far too many
LARGEST_LIMIT = 20_000
GROWTH_FIRST = 2.0  # until a chunk has come near its target
GROWTH = 1.25  # later: a few cheap rows must not make the next chunk many times too large
SHRINK = 0.25
NEAR = 0.7  # of the target
TRUSTED = 0.5  # of what a chunk took before one that was far too long: up to there it grows as at first, for that one may
# have been chance (a checkpoint, a new WAL segment)


class ChunkSize:
    """The next chunk's number of rows. It grows slowly and shrinks fast, so that few chunks are far over the target."""

    def __init__(self, target_ms: int, *, largest: int = LARGEST_LIMIT) -> None:
        """`target_ms`: how long one chunk should take; `largest`: never more rows than that."""
        self.largest = largest
        self.target_seconds = target_ms / 1000
        self.limit = FIRST_LIMIT
        self._trusted = float(largest)

    def took(self, seconds: float) -> None:
        """Adapt to how long the last chunk took."""
        if seconds >= NEAR * self.target_seconds:
            self._trusted = self.limit * TRUSTED if seconds > 2 * self.target_seconds else 0.0
        growth = GROWTH_FIRST if self.limit * GROWTH_FIRST <= self._trusted else GROWTH
        factor = min(growth, max(SHRINK, self.target_seconds / max(seconds, 1e-6)))
        # At least one row more, or growth from a few rows would round to nothing.
        wanted = int(self.limit * factor) if factor <= 1 else max(self.limit + 1, int(self.limit * factor))
        self.limit = min(self.largest, max(SMALLEST_LIMIT, wanted))
