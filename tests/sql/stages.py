"""Plays the stages of a change as the engine does, without its ledger, gates and pacing: for tests of the SQL alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import yaml

ROOT = Path(__file__).resolve().parents[2]
LEDGER = ROOT / "scripts" / "rollout" / "engine" / "ledger.sql"
LOCK_ATTEMPTS = 200


class Change:
    """One change folder, played against one database by its owner."""

    def __init__(self, tier: str, name: str, conninfo: str) -> None:
        self.folder = ROOT / "sql" / tier / name
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.connection.execute(LEDGER.read_bytes())
        declared = self.folder / "change.yml"
        self.includes: list[str] = (
            yaml.safe_load(declared.read_text()).get("includes", []) if declared.exists() else []
        )
        self.locks: dict[str, list[str]] = (
            yaml.safe_load(declared.read_text()).get("locks", {}) if declared.exists() else {}
        )

    def text(self, file: str) -> bytes:
        """Return a stage file's SQL, or nothing when the change does not have that file."""
        path = self.folder / file
        return path.read_bytes() if path.exists() else b""

    def stage(self, stage: str, *, verify: bool = True) -> None:
        """Run <stage>.sql in one transaction behind short lock timeouts, then verify.sql."""
        shared = [ROOT / "sql" / "shared" / name for name in self.includes] if stage == "expand" else []
        script = b"\n".join([*(p.read_bytes() for p in shared), self.text(f"{stage}.sql")])
        for attempt in range(LOCK_ATTEMPTS):
            try:
                with self.connection.transaction():
                    self.connection.execute("SET LOCAL lock_timeout = '100ms'")
                    for relation in self.locks.get(stage, []):
                        self.connection.execute(f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE".encode())
                    if script:
                        self.connection.execute(script)
                    if verify:
                        self.verify(stage)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if attempt == LOCK_ATTEMPTS - 1:
                    raise

    def verify(self, stage: str) -> None:
        """Run verify.sql; the database raises when something is not as it should be."""
        script = self.text("verify.sql")
        if script and stage in ("expand", "swap", "revert", "contract"):
            self.connection.execute("SELECT set_config('rollout.stage', %s, true)", (stage,))
            self.connection.execute(script)

    def statements(self, stage: str) -> None:
        """Run a file whose statements are separated by `-- statement`, each outside a transaction."""
        for statement in re.split(rb"^-- statement$", self.text(f"{stage}.sql"), flags=re.MULTILINE):
            if statement.strip():
                self.connection.execute(statement)

    def copy(self, limit: int = 500, prefix: str = "copy") -> dict[str, int]:
        """Run every chunked file of a prefix to its end and return the rows that each one passed."""
        passed = {}
        for path in sorted(self.folder.glob(f"{prefix}_[0-9]*.sql")):
            passed[path.stem] = self._chunks(path.read_bytes(), limit, [])
        return passed

    def compare(self, limit: int = 500) -> tuple[int, list[str]]:
        """Run every comparison to its end and return (rows compared, keys that differ)."""
        differing: list[str] = []
        rows = sum(
            self._chunks(path.read_bytes(), limit, differing) for path in sorted(self.folder.glob("compare_[0-9]*.sql"))
        )
        return rows, differing

    def _chunks(self, script: bytes, limit: int, differing: list[str]) -> int:
        after: str | None = None
        rows: int = 0
        while True:
            row = self._chunk(script, {"after": after, "limit": limit, "keys": None})
            rows += int(row[1])
            differing += row[2] if len(row) > 2 else []
            if row[0] is None:
                return rows
            after = row[0]

    def _chunk(self, script: bytes, bound: dict[str, Any]) -> tuple[Any, ...]:
        for _ in range(LOCK_ATTEMPTS):
            try:
                with self.connection.transaction():
                    # Below deadlock_timeout, so that it is the runner that gives way and never a client.
                    self.connection.execute("SET LOCAL lock_timeout = '200ms'")
                    row = self.connection.execute(script, bound).fetchone()
                    assert row is not None
                    return row
            except psycopg.errors.LockNotAvailable:
                continue
        raise AssertionError("a chunk never got its locks")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
