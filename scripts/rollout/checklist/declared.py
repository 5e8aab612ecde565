"""What runbooks/checklist.yml may say: items, KPI tables and success criteria, each with its probe, threshold or attestation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollout.environment import ROOT
from rollout.errors import BadInput

PATH = ROOT / "runbooks" / "checklist.yml"


class _Strict(BaseModel):
    """A typo is an error before anything is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Threshold(_Strict):
    """One limit in `unit`: below, at_most, at_least or equal."""

    unit: str
    below: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    equal: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self._given()) != 1:
            raise ValueError("a threshold is one of below, at_most, at_least, equal")
        return self

    def _given(self) -> dict[str, float]:
        return {k: v for k, v in self.model_dump(exclude={"unit"}).items() if v is not None}

    def met(self, value: float) -> bool:
        """Tell whether a finite value is within the limit."""
        ((name, limit),) = self._given().items()
        return {
            "below": value < limit, "at_most": value <= limit, "at_least": value >= limit, "equal": value == limit,
        }[name]  # fmt: skip

    def __str__(self) -> str:
        """Return the limit as people write it: `< 200 ms`."""
        ((name, limit),) = self._given().items()
        return f"{ {'below': '<', 'at_most': '<=', 'at_least': '>=', 'equal': '='}[name] } {limit:,g} {self.unit}"


class Item(_Strict):
    """One item. `with` are the probe's parameters; `next`: what to do when it fails. `items`: it holds when all of those hold."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    probe: str | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    threshold: Threshold | None = None
    samples_min: int = Field(default=1, ge=1)
    next: str = ""
    attestation: str | None = None
    items: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _earned(self) -> Self:
        if (self.probe is None) != (self.threshold is None):
            raise ValueError(f"{self.id}: a probe has a threshold, and nothing else has one")
        if self.probe is None and self.attestation is None and not self.items:
            raise ValueError(f"{self.id}: neither a probe, nor other items, nor an attestation")
        if bool(self.probe) != bool(self.next):
            raise ValueError(f"{self.id}: what is measured says what to do when it fails (next), and nothing else does")
        if self.items and (self.probe or self.attestation):
            raise ValueError(f"{self.id}: other items decide it, or a probe or a person does")
        return self


class Group(_Strict):
    """Items under one heading."""

    id: str = ""
    title: str
    items: list[Item]


class Row(_Strict):
    """A KPI: the seed's words for current and target, and the item whose probe measures it."""

    metric: str
    current: str
    target: str
    item: str


class Table(_Strict):
    """KPIs under one heading."""

    title: str
    rows: list[Row]


class Declared(_Strict):
    """The whole file."""

    groups: list[Group]
    kpis: list[Table]
    criteria: list[Group]

    def all(self) -> Iterator[Item]:
        """Yield every item, those of the checklist before the criteria."""
        for group in [*self.groups, *self.criteria]:
            yield from group.items

    def find(self, name: str) -> Item:
        """Return an item by its id; raise BadInput for an unknown one."""
        for item in self.all():
            if item.id == name:
                return item
        raise BadInput(f"unknown item {name!r}", limit=f"one of {', '.join(i.id for i in self.all())}",
                       next="correct the item's id", page="runbooks/checklist.yml")

    @model_validator(mode="after")
    def _known(self) -> Self:
        ids = [item.id for item in self.all()]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"ids that stand twice: {', '.join(twice)}")
        named = [n for item in self.all() for n in item.items] + [row.item for table in self.kpis for row in table.rows]
        if unknown := sorted(set(named) - set(ids)):
            raise ValueError(f"unknown items: {', '.join(unknown)}")
        return self


@cache
def load(path: Path = PATH) -> Declared:
    """Read and check the file; raise BadInput with the first thing that is wrong."""
    try:
        return Declared.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error).splitlines()[0]
        raise BadInput(f"{path.name} is wrong at {where}", next=f"correct {path.name}") from None
