"""Everything that can be said against changes without asking a database, a line a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rollout.engine import changes, located
from rollout.engine.changes import Change
from rollout.engine.declaration import Declaration, Plan
from rollout.engine.located import Document, NotYaml, Wrong
from rollout.environment import TIERS
from rollout.errors import BadInput
from rollout.review import expressions, files, names
from rollout.review.finding import Finding


def findings(tiers: Sequence[str] = TIERS, name: str = "") -> list[Finding]:
    """Return what is wrong with the changes of some tiers, or with those of one name; raise BadInput for an unknown name."""
    folders = {tier: sorted(p for p in (changes.SQL / tier).iterdir() if p.is_dir()) for tier in tiers}
    if name:
        known = sorted({p.name for of in folders.values() for p in of})
        if name not in known:
            near = located.nearest(name, known)
            raise BadInput(f"no change has the folder {name!r}{near}", next="give --change its folder's name")
        folders = {tier: of for tier, of in folders.items() if name in {p.name for p in of}}
    found: list[Finding] = []
    paths: set[Path] = set()
    for tier, of in folders.items():
        found += _plan(tier, [p.name for p in of])
        read = {folder.name: _folder(tier, folder, found if name in ("", folder.name) else []) for folder in of}
        found += _between([c for c in read.values() if c], name)
        for folder in of:
            if name in ("", folder.name):
                paths |= {*folder.glob("*.sql"), *(p for p in _included(read[folder.name]) if p.is_file())}
    found += files.squawked(sorted(paths))
    return sorted(set(found))


def _plan(tier: str, folders: list[str]) -> Iterator[Finding]:
    """Say what is wrong with a tier's plan: typos, order, folders that it forgets or that are not there."""
    path = changes.SQL / tier / "plan.yml"
    try:
        document = changes.read(path)
    except NotYaml as error:
        yield _finding(error.document, "plan", error.wrong)
        return
    except BadInput as error:
        yield Finding(changes.short(path), 1, "plan", error.observed)
        return
    plan, wrong = document.checked(Plan)
    if plan:
        ordered = [entry.change for entry in plan.changes]
        wrong = [*wrong, *changes.misplaced(document, plan, tier)]
        wrong += [
            document.at(f"{name} has no folder{located.nearest(name, folders)}", "changes", number)
            for number, name in enumerate(ordered)
            if name not in folders
        ]
        wrong += [document.at(f"{name} is not in the plan", "changes") for name in folders if name not in ordered]
    yield from (_finding(document, "plan", w) for w in wrong)


def _folder(tier: str, folder: Path, found: list[Finding]) -> tuple[Document, Change] | None:
    """Add what is wrong with one change, squawk's findings aside; return it when its declaration can be read."""
    try:
        document = changes.read(folder / "change.yml")
    except NotYaml as error:
        found.append(_finding(error.document, "declaration", error.wrong))
        return None
    except BadInput as error:
        found.append(Finding(changes.short(folder / "change.yml"), 1, "declaration", error.observed))
        return None
    declaration, wrong = document.checked(Declaration)
    found += [_finding(document, "declaration", w) for w in wrong]
    if declaration is None:
        return None
    change = Change(tier, folder, declaration)
    found += [_finding(document, "declaration", w) for w in changes.misnamed(document, change)]
    found += [_finding(document, "name", w) for w in names.wrong(document, declaration)]
    found += [_finding(document, "expression", w) for w in expressions.wrong(document, declaration)]
    found += files.wrong(change)
    return document, change


def _between(read: list[tuple[Document, Change]], name: str) -> Iterator[Finding]:
    """Say which relations two changes of a tier make under one name, unless one goes on with what the other made."""
    made = [
        (schema, relation, place, document, change)
        for document, change in read
        for schema, relation, place in names.relations(change.declaration)
    ]
    for (schema, relation), same in groupby(sorted(made, key=lambda m: m[:2]), key=lambda m: m[:2]):
        first, *others = same
        other = first[4]
        for _, _, place, document, change in others:
            apart = change is not other and not _succeeds(change, other) and not _succeeds(other, change)
            if apart and name in ("", change.name, other.name):
                yield _finding(document, "name", document.at(f"{schema}.{relation} is made by {other.name} too", *place))


def _succeeds(change: Change, earlier: Change) -> bool:
    """Tell whether a change rewrites what an earlier one has made (its shadow is then home, and gone from its schema)."""
    source = earlier.declaration.sources[0]
    return f"{source.schema_name}.{earlier.declaration.target.name or source.name}" in change.declaration.relations


def _included(read: tuple[Document, Change] | None) -> list[Path]:
    return read[1].included() if read else []


def _finding(document: Document, rule: str, wrong: Wrong) -> Finding:
    return Finding(document.name, wrong.line, rule, wrong.words)
