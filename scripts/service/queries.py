"""A release's named statements: `-- name: x` blocks, one file a tier; a block may hold several statements, in order."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

TIERS = ("oltp", "content", "queue", "olap")
_NAME = re.compile(r"^-- name: ([a-z_]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """What sets one release apart: its version, where it looks for tables, whether it names the tenant in every
    transaction (else on oltp alone), and its statements by tier and name.
    """

    version: str
    search_path: str
    checks_references: bool
    sets_tenant: bool
    sha256: str
    statements: dict[str, dict[str, list[bytes]]]

    def all(self, tier: str, name: str) -> list[bytes]:
        """Return the statements of a name, in the order in which they take their locks; KeyError is a defect."""
        return self.statements[tier][name]

    def one(self, tier: str, name: str) -> bytes:
        """Return the only statement of a name; ValueError when it has several."""
        (statement,) = self.statements[tier][name]
        return statement


def parse(text: str) -> dict[str, list[bytes]]:
    """Split a file into its named statements; raise ValueError when a name stands twice or holds nothing."""
    parts = _NAME.split(text)
    found: dict[str, list[bytes]] = {}
    for name, block in zip(parts[1::2], parts[2::2], strict=True):
        body = "\n".join(line for line in block.splitlines() if not line.startswith("--"))
        statements = [s.strip().encode() for s in re.split(r";[ \t]*(?:\n|$)", body) if s.strip()]
        if name in found or not statements:
            raise ValueError(f"statement {name!r} stands twice or is empty")
        found[name] = statements
    return found


def read(folder: Path) -> Release:
    """Read a built release folder; raise OSError, ValueError or KeyError when it is not one."""
    about = json.loads((folder / "RELEASE").read_text())
    return Release(
        version=about["version"],
        search_path=about["search_path"],
        checks_references=about["checks_references"],
        sets_tenant=about["sets_tenant"],
        sha256=about["sha256"],
        statements={tier: parse((folder / "sql" / f"{tier}.sql").read_text()) for tier in TIERS},
    )
