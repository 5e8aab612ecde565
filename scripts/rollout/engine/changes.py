"""Changes and their plan: folders under sql/<tier>/, checked against a schema before anything runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rollout.engine import located
from rollout.engine.declaration import Declaration, Plan
from rollout.engine.located import Document, Wrong
from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput

SQL = ROOT / "sql"
GENERATED = ("rewrite", "rename", "row_security", "audit")  # kinds whose swap and revert are generated


@dataclass(frozen=True)
class Change:
    """A change: its declaration and its files. Stages read files by name; a file that is absent has nothing to do.

    `requires`: the changes of its tier that its plan says must stand before it.
    """

    tier: str
    folder: Path
    declaration: Declaration
    requires: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the folder's name, which is also the change's."""
        return self.folder.name

    @property
    def rewrites(self) -> bool:
        """Return whether the change exchanges tables: it has a shadow, which is copied and compared."""
        return self.declaration.kind == "rewrite"

    @property
    def secures(self) -> bool:
        """Return whether the change switches row security on."""
        return self.declaration.kind == "row_security"

    @property
    def renames(self) -> bool:
        """Return whether the change gives columns other names and exchanges tables for views with the old ones."""
        return self.declaration.kind == "rename"

    @property
    def swaps(self) -> bool:
        """Return whether the change takes effect at the swap (and so is taken back by a revert)."""
        return self.declaration.kind in GENERATED or (self.folder / "swap.sql").exists()

    @cached_property
    def sha256(self) -> str:
        """Return the digest over the names and contents of all files of the change and of what it includes."""
        digest = hashlib.sha256()
        for path in [*sorted(p for p in self.folder.iterdir() if p.is_file()), *self.included()]:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def sql(self, stage: str) -> bytes | None:
        """Return the text of `<stage>.sql` (of expand: behind what the change includes), or None."""
        path = self.folder / f"{stage}.sql"
        if not path.exists():
            return None
        before = self.included() if stage == "expand" else []
        return b"\n".join(p.read_bytes() for p in [*before, path])

    def included(self) -> list[Path]:
        """Return the files of sql/shared that expand begins with."""
        return [self.folder.parents[1] / "shared" / name for name in self.declaration.includes]

    def statements(self, stage: str) -> list[bytes]:
        """Return the statements of a file whose parts `-- statement` lines separate (for work outside a transaction)."""
        text = (self.sql(stage) or b"").decode()
        parts = re.split(r"(?m)^-- statement.*$", text)
        return [p.encode() for p in parts if re.sub(r"(?m)^\s*--.*$", "", p).strip()]

    def works(self, prefix: str) -> list[str]:
        """Return the names (without .sql) of chunked work such as copy_1_jobs, in order."""
        return sorted(p.stem for p in self.folder.glob(f"{prefix}_[0-9]*.sql"))


def plan(tier: str) -> list[Change]:
    """Return a tier's changes in their order; raise BadInput for a typo, a missing folder or a broken requirement."""
    document = read(SQL / tier / "plan.yml")
    plan = document.require(Plan)
    if wrong := misplaced(document, plan, tier):
        raise document.error(wrong[0], "correct the order of the plan")
    changes = [replace(load(tier, SQL / tier / e.change), requires=tuple(e.requires)) for e in plan.changes]
    known = {c.name for c in changes}
    if forgotten := sorted(p.name for p in (SQL / tier).iterdir() if p.is_dir() and p.name not in known):
        raise BadInput(f"{document.name} does not order {', '.join(forgotten)}", next="add each folder to the plan")
    return changes


def misplaced(document: Document, plan: Plan, tier: str) -> list[Wrong]:
    """Return what is wrong with the order of a plan: another tier's, a change named twice, a requirement not before it."""
    before: list[str] = []
    wrong = [] if plan.tier == tier else [document.at(f"it is the plan of {plan.tier}, in the folder of {tier}", "tier")]
    for number, entry in enumerate(plan.changes):
        if entry.change in before:
            wrong.append(document.at(f"{entry.change} stands twice in the plan", "changes", number))
        for place, name in enumerate(entry.requires):
            if name not in before:
                near = located.nearest(name, before) if before else ""
                words = f"{entry.change} requires {name}, which does not stand before it{near}"
                wrong.append(document.at(words, "changes", number, "requires", place))
        before.append(entry.change)
    return wrong


def find(name: str, tiers: Sequence[str] = TIERS) -> list[Change]:
    """Return the changes of that name, one a tier that has it; raise BadInput when none has."""
    plans = [change for tier in tiers for change in plan(tier)]
    found = [change for change in plans if change.name == name]
    if not found:
        known = list(dict.fromkeys(change.name for change in plans))
        raise BadInput(f"no plan has a change {name!r}{located.nearest(name, known)}" if name else "no change named",
                       limit="a change of sql/*/plan.yml", next="give --change its folder's name")  # fmt: skip
    return found


def required(change: Change) -> list[Change]:
    """Return the changes that one requires, and those that these require, in the plan's order."""
    names, found = set(change.requires), []
    for earlier in reversed(plan(change.tier) if names else []):
        if earlier.name in names:
            names |= set(earlier.requires)
            found.append(earlier)
    return found[::-1]


def dependents(change: Change) -> list[Change]:
    """Return the changes that require one, and those that require these, in the plan's order."""
    return [later for later in plan(change.tier) if change.name in {c.name for c in required(later)}]


def load(tier: str, folder: Path) -> Change:
    """Return the change in a folder (anywhere); raise BadInput for a typo, another folder's name or a missing include."""
    document = read(folder / "change.yml")
    change = Change(tier, folder, document.require(Declaration))
    if wrong := misnamed(document, change):
        raise document.error(wrong[0])
    return change


def misnamed(document: Document, change: Change) -> list[Wrong]:
    """Return what is wrong with what a declaration names: its own folder, files of sql/shared."""
    wrong = []
    if change.declaration.change != change.name:
        words = f"it names {change.declaration.change!r}, and its folder is {change.name!r}"
        wrong.append(document.at(words, "change"))
    for number, path in enumerate(change.included()):
        if not path.is_file():
            known = sorted(p.name for p in path.parent.glob("*.sql"))
            near = located.nearest(path.name, known)
            wrong.append(document.at(f"{path.name} is no file of sql/shared{near}", "includes", number))
    return wrong


def digest() -> str:
    """Return one SHA-256 over every tier's ordered changes: what phase 1 proves and phase 2 must not differ from."""
    parts = [f"{tier}/{change.name}={change.sha256}" for tier in TIERS for change in plan(tier)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read(path: Path) -> Document:
    """Return change.yml or plan.yml with its lines; raise BadInput when it is not there or no YAML."""
    try:
        return located.read(path, short(path))
    except FileNotFoundError:
        raise BadInput(f"{short(path)} does not exist", next="write it, or take the change off the plan") from None


def short(path: Path) -> str:
    """Return a path as people call it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
