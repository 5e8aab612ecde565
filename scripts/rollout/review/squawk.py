"""Squawk over SQL texts: its rules about what a statement locks or breaks, and its reading of Postgres' grammar."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rollout.environment import ROOT
from rollout.errors import Failed
from rollout.review.finding import Finding

CONFIG = ROOT / ".squawk.toml"
SYNTAX = "syntax-error"
SECONDS = 60.0


def run(texts: Mapping[str, str], *, in_transaction: bool = True) -> list[Finding]:
    """Return what squawk says of texts, by file and line; raise Failed when it cannot be run.

    `texts`: file name to SQL; `in_transaction`: whether the engine runs them in one.
    """
    if not texts:
        return []
    with tempfile.TemporaryDirectory(prefix="rollout-lint-") as scratch:
        for name, text in texts.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        mode = [] if in_transaction else ["--no-assume-in-transaction"]
        program = str(Path(sys.executable).with_name("squawk"))
        argv = [program, "--config", str(CONFIG), "--reporter", "json", *mode, "--", *texts]
        try:
            done = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, timeout=SECONDS, check=False)
            found = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise Failed(f"squawk: {type(error).__name__}: {error}", next="scripts/bootstrap, then repeat") from None
    return [
        Finding(f["file"], int(f["line"]) + 1, f["rule_name"], " ".join(f"{f['message']} {f['help'] or ''}".split()))
        for f in found
    ]


def syntax(texts: Mapping[str, str]) -> dict[str, str]:
    """Return, for each text that is no SQL, what the parser says first."""
    told: dict[str, str] = {}
    for finding in run(texts):
        if finding.rule == SYNTAX:
            told.setdefault(finding.file, finding.words)
    return told
