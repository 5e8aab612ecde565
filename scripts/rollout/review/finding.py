"""One thing that is wrong with a change, where it stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Finding:
    """A finding: file as people call it, line from 1, the rule and what it says, in one line."""

    file: str
    line: int
    rule: str
    words: str

    def __str__(self) -> str:
        """Return the line that people and editors read."""
        return f"{self.file}:{self.line}: {self.rule}: {self.words}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native values."""
        return asdict(self)
