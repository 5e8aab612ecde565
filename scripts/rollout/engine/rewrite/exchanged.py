"""What swap and revert exchange, as it is collected: each statement beside its undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Say = Callable[[str], None]


@dataclass
class Exchange:
    """Statements of a swap and its revert. `before` run on the relation that gives up authority, under its own name."""

    swap_before: list[str] = field(default_factory=list)
    swap: list[str] = field(default_factory=list)
    revert_before: list[str] = field(default_factory=list)
    revert: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    contract: list[str] = field(default_factory=list)
    discard: list[str] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)
