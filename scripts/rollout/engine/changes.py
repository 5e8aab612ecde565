"""Changes and their plan: folders under sql/<tier>/, checked against a schema before anything runs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rollout.engine.declaration import Declaration, Plan
from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput

SQL = ROOT / "sql"
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Change:
    """A change: its declaration and its files. Stages read files by name; a file that is absent has nothing to do."""

    tier: str
    folder: Path
    declaration: Declaration

    @property
    def name(self) -> str:
        """Return the folder's name, which is also the change's."""
        return self.folder.name

    @property
    def rewrites(self) -> bool:
        """Return whether the change exchanges tables: it has a shadow, which is copied and compared."""
        return self.declaration.kind == "rewrite"

    @property
    def swaps(self) -> bool:
        """Return whether the change takes effect at the swap (and so is taken back by a revert)."""
        return self.rewrites or (self.folder / "swap.sql").exists()

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
    path = SQL / tier / "plan.yml"
    entries = _checked(Plan, path).changes
    changes: list[Change] = []
    for entry in entries:
        unknown = set(entry.requires) - {c.name for c in changes}
        if unknown:
            raise BadInput(
                f"{_short(path)}: {entry.change} requires {', '.join(sorted(unknown))}, which do not stand before it",
                next="correct the order of the plan",
            )
        changes.append(load(tier, SQL / tier / entry.change))
    known = {c.name for c in changes}
    forgotten = sorted(p.name for p in (SQL / tier).iterdir() if p.is_dir() and p.name not in known)
    if forgotten:
        raise BadInput(f"{_short(path)} does not order {', '.join(forgotten)}", next="add each folder to the plan")
    return changes


def load(tier: str, folder: Path) -> Change:
    """Return the change in a folder (anywhere); raise BadInput for a typo, another folder's name or a missing include."""
    declaration = _checked(Declaration, folder / "change.yml")
    if declaration.change != folder.name:
        raise BadInput(f"{_short(folder)}/change.yml names {declaration.change!r}", next="give it its folder's name")
    change = Change(tier, folder, declaration)
    for path in change.included():
        if not path.is_file():
            raise BadInput(
                f"{_short(folder)}/change.yml includes {path.name}", limit="a file of sql/shared", next="correct it"
            )
    return change


def digest() -> str:
    """Return one SHA-256 over every tier's ordered changes: what phase 1 proves and phase 2 must not differ from."""
    parts = [f"{tier}/{change.name}={change.sha256}" for tier in TIERS for change in plan(tier)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _checked(model: type[Model], path: Path) -> Model:
    try:
        content: Any = yaml.safe_load(path.read_text())
        return model.model_validate(content)
    except FileNotFoundError:
        raise BadInput(f"{_short(path)} does not exist", next="write it, or take the change off the plan") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{_short(path)} is not YAML: {error}", next="correct it") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{_short(path)} is wrong at {where or 'its top'}: {first['msg']}", next="correct it") from None


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
