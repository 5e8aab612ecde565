"""Changes and their plan: folders under sql/<tier>/, checked against a schema before anything runs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.environment import ROOT, TIERS
from rollout.errors import BadInput

SQL = ROOT / "sql"
Relation = str
Model = TypeVar("Model", bound=BaseModel)


class Locks(BaseModel):
    """Relations that a stage locks before it runs, in the application's own order, each `schema.name`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    expand: list[Relation] = Field(default_factory=list)
    arm: list[Relation] = Field(default_factory=list)
    swap: list[Relation] = Field(default_factory=list)
    revert: list[Relation] = Field(default_factory=list)
    contract_prepare: list[Relation] = Field(default_factory=list)
    contract: list[Relation] = Field(default_factory=list)
    discard: list[Relation] = Field(default_factory=list)


class Declaration(BaseModel):
    """What change.yml may say.

    `authority`: each relation that the swap exchanges, and the column that is its key; `shadow`: the relations that are
    filled, analysed once they are; `includes`: files of sql/shared that expand begins with; `before_swap`: steps of the
    road that must have run on the expanded change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    change: str
    kind: Literal["rewrite", "index", "documentation"]
    summary: str
    authority: dict[Relation, str] = Field(default_factory=dict)
    includes: list[str] = Field(default_factory=list)
    shadow: list[Relation] = Field(default_factory=list)
    before_swap: list[Literal["refresh_performance"]] = Field(default_factory=list)
    locks: Locks = Field(default_factory=Locks)


class PlanEntry(BaseModel):
    """One line of a plan: a change and those of the same tier that must stand before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    change: str
    requires: list[str] = Field(default_factory=list)


class Plan(BaseModel):
    """plan.yml: the order of a tier's changes; the only place that orders."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tier: Literal["oltp", "content", "queue", "olap"]
    changes: list[PlanEntry]


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
    def swaps(self) -> bool:
        """Return whether the change exchanges names (and so can be taken back by the reverse swap)."""
        return (self.folder / "swap.sql").exists()

    @cached_property
    def sha256(self) -> str:
        """Return the digest over the names and contents of all files of the change and of what it includes."""
        digest = hashlib.sha256()
        for path in [*sorted(p for p in self.folder.iterdir() if p.is_file()), *self._included()]:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def sql(self, stage: str) -> bytes | None:
        """Return the text of `<stage>.sql` (of expand: behind what the change includes), or None."""
        path = self.folder / f"{stage}.sql"
        if not path.exists():
            return None
        before = self._included() if stage == "expand" else []
        return b"\n".join(p.read_bytes() for p in [*before, path])

    def _included(self) -> list[Path]:
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
        folder = SQL / tier / entry.change
        declaration = _checked(Declaration, folder / "change.yml")
        if declaration.change != entry.change:
            raise BadInput(
                f"{_short(folder)}/change.yml names {declaration.change!r}", next="give it its folder's name"
            )
        for name in declaration.includes:
            if not (SQL / "shared" / name).is_file():
                raise BadInput(f"{_short(folder)}/change.yml includes {name}", limit="a file of sql/shared", next="correct it")
        changes.append(Change(tier, folder, declaration))
    known = {c.name for c in changes}
    forgotten = sorted(p.name for p in (SQL / tier).iterdir() if p.is_dir() and p.name not in known)
    if forgotten:
        raise BadInput(f"{_short(path)} does not order {', '.join(forgotten)}", next="add each folder to the plan")
    return changes


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
    return str(path.relative_to(ROOT))
