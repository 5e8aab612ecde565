"""Build a release: a folder with a copy of the code, the release's SQL and a RELEASE file with its digest.

Usage: python -m service.build --release v0|v1|v2 --into DIR
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from service.queries import TIERS, parse

HERE = Path(__file__).resolve().parent
RELEASES = HERE / "releases"
# What the service needs of the library, and no more: modules that import psycopg and redis alone.
LIBRARY = HERE.parent / "rollout"
CARRIED = (
    "__init__.py",
    *(f"references/{name}.py" for name in ("__init__", "cache", "listen", "validator")),
)


def known() -> list[str]:
    """Return the releases that can be built."""
    return sorted(p.parent.name for p in RELEASES.glob("*/release.json"))


def digest(folder: Path) -> str:
    """Return the SHA-256 over names and contents of a release folder, without its RELEASE file and Python's caches."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name != Path("RELEASE") and "__pycache__" not in name.parts:
            total.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def build(release: str, into: Path) -> tuple[bool, str]:
    """Build `release` into the folder `into`; return whether it changed, and its digest.

    The folder appears whole or not at all: it is made beside its place and renamed. A build that was killed between
    the two renames leaves no folder, and the next build makes it. Raise ValueError when the release is unknown or
    `into` is something else than a release folder.
    """
    if release not in known():
        raise ValueError(f"unknown release {release!r}; known: {', '.join(known())}")
    into = into.absolute()
    if into.exists() and not (into / "RELEASE").is_file() and (not into.is_dir() or any(into.iterdir())):
        raise ValueError(f"{into} exists and is not a release folder")
    into.parent.mkdir(parents=True, exist_ok=True)
    for left in into.parent.glob(f".{into.name}.build-*"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{into.name}.build-", dir=into.parent))
    try:
        made = temporary / "new"
        _assemble(release, made)
        sha256 = digest(made)
        if _is(into, release, sha256):
            return False, sha256
        about = json.loads((RELEASES / release / "release.json").read_text())
        (made / "RELEASE").write_text(json.dumps({**about, "sha256": sha256}, indent=2) + "\n")
        if into.exists():
            into.rename(temporary / "old")
        made.rename(into)
        return True, sha256
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _assemble(release: str, made: Path) -> None:
    (made / "service").mkdir(parents=True)
    (made / "sql").mkdir()
    for source in sorted(HERE.glob("*.py")):
        shutil.copyfile(source, made / "service" / source.name)
    (made / "rollout" / "references").mkdir(parents=True)
    for name in CARRIED:
        shutil.copyfile(LIBRARY / name, made / "rollout" / name)
    shutil.copyfile(RELEASES / release / "release.json", made / "sql" / "release.json")
    # A release may differ from another by its flags alone.
    statements = json.loads((RELEASES / release / "release.json").read_text()).get("statements_of", release)
    for tier in TIERS:
        sources = [
            p for p in (RELEASES / "common" / f"{tier}.sql", RELEASES / statements / f"{tier}.sql") if p.exists()
        ]
        text = "\n".join(p.read_text() for p in sources)
        parse(text)
        (made / "sql" / f"{tier}.sql").write_text(text)


def _is(folder: Path, release: str, sha256: str) -> bool:
    """Tell whether a folder holds this very release, unedited."""
    try:
        about = json.loads((folder / "RELEASE").read_text())
    except (OSError, ValueError):
        return False
    return bool(about.get("version") == release and about.get("sha256") == sha256 == digest(folder))


def main() -> int:
    """Build as the arguments say; exit 2 with one line on bad input."""
    arguments = argparse.ArgumentParser(prog="service.build", description="Build a release of the application.")
    arguments.add_argument("--release", required=True)
    arguments.add_argument("--into", required=True, type=Path)
    given = arguments.parse_args()
    try:
        changed, sha256 = build(given.release, given.into)
    except (ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    print(f"{'built' if changed else 'unchanged'} {given.release} {sha256} {given.into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
