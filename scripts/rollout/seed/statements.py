"""The seeder's SQL files: statements that each fill one table, a range of numbers at a time."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

HERE = Path(__file__).parent
_HEADER = re.compile(r"^-- fill (\w+): (\w+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Statement:
    """One INSERT with the parameters `low` and `high` (inclusive) and those of Shape."""

    table: str
    count: str
    text: str


def text(name: str) -> str:
    """Return one of the package's SQL files."""
    return (HERE / f"{name}.sql").read_text()


def statements(tier: str) -> list[Statement]:
    """Return a tier's statements in the order of the file, which is the order that the foreign keys want."""
    parts = _HEADER.split(text(tier))[1:]
    return [
        Statement(table, count, body.strip())
        for table, count, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    ]
