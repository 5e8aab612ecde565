"""What several unit tests start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rollout.engine import changes
from rollout.environment import ROOT


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the repository's changes to where a test may damage them, or add to them."""
    folder = tmp_path / "sql"
    shutil.copytree(ROOT / "sql", folder)
    monkeypatch.setattr(changes, "ROOT", tmp_path)
    monkeypatch.setattr(changes, "SQL", folder)
    return folder
