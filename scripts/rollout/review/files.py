"""The .sql files of a change: whether a stage reads each of them, what the engine needs of them, and squawk's rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rollout.engine import changes, indexes
from rollout.engine.changes import Change
from rollout.engine.located import nearest
from rollout.review import squawk
from rollout.review.finding import Finding

WORK = re.compile(r"(?:contract_)?copy_[0-9]\w*")
PLACEHOLDER = re.compile(r"%\(([a-z_]+)\)s")
STATEMENT = re.compile(r"(?m)^-- statement.*$")
ANY = (
    "expand", "indexes", "validate", "verify", "swap", "revert", "discard",
    "contract_prepare", "contract_indexes", "contract_validate", "contract",
)  # fmt: skip
OF_REWRITES = (*ANY, "shadow")
UNDONE = (("swap", "revert"), ("revert", "swap"))
UNDONE_OF_OTHERS = (("expand", "discard"), ("indexes", "discard"))  # of a rewrite they may be on the shadow, and go with it


def wrong(change: Change) -> list[Finding]:
    """Return what is wrong with a change's files, squawk's findings aside."""
    known = OF_REWRITES if change.rewrites else ANY
    paths = sorted(change.folder.glob("*.sql"))
    found = [
        Finding(changes.short(path), 1, "file", f"no stage of a {change.declaration.kind} reads it{_near(path.stem, known)}")
        for path in paths
        if path.stem not in known and not WORK.fullmatch(path.stem)
    ]
    for path in paths:
        if WORK.fullmatch(path.stem):
            found += _work(path)
        elif path.stem in ("indexes", "contract_indexes"):
            found += _indexes(change, path)
    stems = {path.stem for path in paths}
    for has, lacks in (*UNDONE, *(() if change.rewrites else UNDONE_OF_OTHERS)):
        if has in stems and lacks not in stems:
            words = f"it has no {lacks}.sql: nothing takes it back" if has != "revert" else "it has no swap.sql to take back"
            found.append(Finding(changes.short(change.folder / f"{has}.sql"), 1, "file", words))
    return found


def squawked(paths: Iterable[Path]) -> list[Finding]:
    """Return squawk's findings in SQL files, those that build indexes being run outside a transaction."""
    texts: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for path in paths:
        text = path.read_text()
        if WORK.fullmatch(path.stem):  # psycopg's placeholders are no SQL
            text = PLACEHOLDER.sub("NULL", text).replace("%%", "%")
        texts[not path.stem.endswith("indexes")][changes.short(path)] = text
    return [finding for inside, of in texts.items() for finding in squawk.run(of, in_transaction=inside)]


def _near(stem: str, known: tuple[str, ...]) -> str:
    return nearest(f"{stem}.sql", [f"{name}.sql" for name in (*known, "copy_1_name", "contract_copy_1_name")])


def _work(path: Path) -> Iterator[Finding]:
    said = set(PLACEHOLDER.findall(path.read_text()))
    for name in ("after", "limit"):
        if name not in said:
            yield Finding(changes.short(path), 1, "file", f"chunked work takes %({name})s, and this does not")
    for name in sorted(said - {"after", "limit"}):
        yield Finding(changes.short(path), 1, "file", f"nothing gives %({name})s: chunked work gets after and limit")


def _indexes(change: Change, path: Path) -> Iterator[Finding]:
    text = path.read_text()
    lines = [text.count("\n", 0, match.start()) + 1 for match in STATEMENT.finditer(text)]
    for statement in change.statements(path.stem):
        if not indexes.NAME.search(statement.decode()):
            before = text.find(statement.decode())
            line = max((number for number in lines if number <= text.count("\n", 0, before) + 1), default=1)
            words = "a part between `-- statement` lines is no CREATE INDEX CONCURRENTLY with a name"
            yield Finding(changes.short(path), line, "file", words)
