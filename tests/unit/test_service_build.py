"""Building a release folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import queries
from service.build import build, digest, known


@pytest.mark.parametrize("release", ["v0", "v1", "v2"])
def test_a_built_release_is_whole(release: str, tmp_path: Path) -> None:
    """The folder holds code, SQL and a RELEASE file whose digest is that of its contents."""
    changed, sha256 = build(release, tmp_path / "r")
    about = json.loads((tmp_path / "r" / "RELEASE").read_text())
    assert changed and about["version"] == release and about["sha256"] == sha256 == digest(tmp_path / "r")
    assert (tmp_path / "r" / "service" / "process.py").is_file()
    assert queries.read(tmp_path / "r").version == release


def test_building_twice_changes_nothing(tmp_path: Path) -> None:
    """The second build of the same release leaves the folder alone."""
    build("v1", tmp_path / "r")
    inode = (tmp_path / "r").stat().st_ino
    assert build("v1", tmp_path / "r")[0] is False
    assert (tmp_path / "r").stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_an_edited_or_other_release_is_replaced(tmp_path: Path) -> None:
    """A folder that was edited, or holds another release, is built anew."""
    build("v1", tmp_path / "r")
    (tmp_path / "r" / "service" / "app.py").write_text("")
    assert build("v1", tmp_path / "r")[0] is True
    assert build("v2", tmp_path / "r")[0] is True
    assert json.loads((tmp_path / "r" / "RELEASE").read_text())["version"] == "v2"


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    """A folder that is not a release, and a release that nobody knows, are refused."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "letter").write_text("dear")
    with pytest.raises(ValueError, match="not a release folder"):
        build("v1", tmp_path / "r")
    with pytest.raises(ValueError, match="unknown release"):
        build("v3", tmp_path / "x")
    assert (tmp_path / "r" / "letter").read_text() == "dear"


def test_all_releases_answer_to_the_same_names(tmp_path: Path) -> None:
    """Every statement of one release exists in the others: they differ in SQL, not in code."""
    names = []
    for release in known():
        build(release, tmp_path / release)
        read = queries.read(tmp_path / release)
        names.append({tier: set(statements) for tier, statements in read.statements.items()})
    assert len(names) == 3 and names[0] == names[1] == names[2]


def test_the_new_release_names_its_columns(tmp_path: Path) -> None:
    """On the tables that change shape the new release selects by name, since a star would show what is not its own."""
    build("v2", tmp_path / "r")
    tables = (b"FROM email_messages", b"FROM email_content", b"FROM jobs", b"FROM billing_analytics")
    statements = [
        s for t in queries.read(tmp_path / "r").statements.values() for several in t.values() for s in several
    ]
    assert not [s for s in statements if b"SELECT *" in s and any(table in s for table in tables)]


@pytest.mark.parametrize("release", ["v1", "v2"])
def test_a_release_stands_alone(release: str, tmp_path: Path) -> None:
    """All of its code comes from its folder, and of the runner's own libraries it needs none."""
    build(release, tmp_path / "r")
    script = (
        "import json, sys, service.process; print(json.dumps([sorted(sys.modules),"
        " [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('service', 'rollout')]]))"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "r"), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([sys.executable, "-P", "-c", script], env=environ, capture_output=True, text=True, check=True)
    modules, files = json.loads(ran.stdout)
    assert "rollout.references.listen" in modules
    assert not {"pydantic", "boto3", "ansible", "rollout.environment"} & set(modules)
    assert not [f for f in files if not f.startswith(str(tmp_path / "r"))]


def test_the_digest_covers_the_library(tmp_path: Path) -> None:
    """A validator that was edited after the build is noticed as any other code is."""
    build("v2", tmp_path / "r")
    before = digest(tmp_path / "r")
    with (tmp_path / "r" / "rollout" / "references" / "validator.py").open("a") as stream:
        stream.write("# edited")
    assert digest(tmp_path / "r") != before
