"""What chunked work is, and what is said of it when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Report = Callable[[str, int, float], None]
Pair = tuple[bytes, bytes]  # the statements of a first and of a further chunk


@dataclass(frozen=True)
class Done:
    """What a piece of chunked work did in this call.

    Rows, chunks, seconds (with those paused), the longest chunk in milliseconds, chunks of more than twice the target time,
    and what slowed it (see `Pace.to_dict`).
    """

    work: str
    rows: int
    chunks: int
    seconds: float
    longest_ms: float
    over_twice: int = 0
    pace: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values with the rate in rows per second, pauses aside."""
        busy = self.seconds - float(self.pace.get("paused_seconds", 0.0))
        return {
            "work": self.work, "rows": self.rows, "chunks": self.chunks, "seconds": round(self.seconds, 3),
            "longest_ms": round(self.longest_ms, 1), "over_twice_target": self.over_twice,
            "rows_per_s": round(self.rows / busy) if busy > 0 else None, "pace": self.pace,
        }  # fmt: skip


@dataclass(frozen=True)
class Division:
    """How work is divided into lanes. `keys` returns keys in their order, evenly spread, or nothing where it is too little.

    `careful`, `quick`: as in Work, of a lane that ends at %(until)s.
    """

    keys: Callable[[], list[str]]
    careful: Pair
    quick: Pair | None


@dataclass(frozen=True)
class Work:
    """A piece of chunked work: its change, its name, and the statements of a first and of a further chunk.

    `quick` is the same work for when nobody has written to what it fills: a unique key that is taken then ends it, and the chunk
    is done by `careful`, which is slower. `relations`: the tables whose pain counts; `division`: None where there are no lanes.
    """

    change: str
    name: str
    careful: Pair
    quick: Pair | None = None
    relations: Sequence[str] = ()
    division: Division | None = None
