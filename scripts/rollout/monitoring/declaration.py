"""What monitoring.yml may say, and reading it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rollout.environment import Tier

SQL = Path(__file__).with_name("sql")
FILE = Path(__file__).with_name("monitoring.yml")
Severity = Literal["critical", "high", "medium", "low"]
Values = dict[str, int | float]


class _Strict(BaseModel):
    """A typo is an error before anything runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Watch(_Strict):
    """Seconds between two looks, and after which a watch that was left may be gone on with from elsewhere."""

    every_seconds: float = Field(gt=0)
    lease_seconds: float = Field(gt=0)


class Job(_Strict):
    """One thing that is done on a schedule: a view refreshed, a file of sql/, or a function of the library."""

    name: str
    tiers: list[Tier]
    every_seconds: float = Field(ge=0)
    timeout_seconds: float = Field(gt=0)
    refresh: str = ""
    sql: str = ""
    call: Literal["", "performance_view"] = ""
    values: Values = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(bool(what) for what in (self.refresh, self.sql, self.call)) != 1:
            raise ValueError(f"job {self.name} is one of refresh, sql and call")
        if self.sql and not (SQL / self.sql).is_file():
            raise ValueError(f"job {self.name}: {self.sql} is no file of sql/")
        return self


class Alert(_Strict):
    """What a kind of alert is about."""

    title: str
    unit: str
    severity: Severity


class OfTier(_Strict):
    """What a probe is in one tier, where that differs."""

    threshold: float | None = None
    severity: Severity | None = None
    values: Values = Field(default_factory=dict)


class Probe(_Strict):
    """One live view: a file of sql/ that returns a value, and when that is too high or too low."""

    name: str
    title: str
    sql: str
    unit: str
    worse: Literal["above", "below"]
    severity: Severity
    threshold: float | None = None
    values: Values = Field(default_factory=dict)
    tiers: dict[Tier, OfTier]

    @model_validator(mode="after")
    def _file(self) -> Self:
        if not (SQL / self.sql).is_file():
            raise ValueError(f"probe {self.name}: {self.sql} is no file of sql/")
        return self

    def threshold_in(self, tier: Tier) -> float | None:
        """Return the threshold in a tier, or None where the value is only shown."""
        said = self.tiers[tier].threshold
        return self.threshold if said is None else said

    def severity_in(self, tier: Tier) -> Severity:
        """Return the severity in a tier."""
        return self.tiers[tier].severity or self.severity

    def values_in(self, tier: Tier) -> Values:
        """Return what is bound in the file in a tier."""
        return self.values | self.tiers[tier].values

    def is_beyond(self, tier: Tier, value: float) -> bool:
        """Tell whether a value is on the wrong side of the threshold."""
        limit = self.threshold_in(tier)
        return limit is not None and (value > limit if self.worse == "above" else value < limit)


class Monitoring(_Strict):
    """All of monitoring.yml."""

    watch: Watch
    jobs: list[Job]
    alerts: dict[str, Alert]
    application_roles: list[str]
    probes: list[Probe]

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("job", [j.name for j in self.jobs]), ("probe", [p.name for p in self.probes])):
            if twice := {n for n in names if names.count(n) > 1}:
                raise ValueError(f"{what} {', '.join(sorted(twice))} stands twice")
        return self


@cache
def load(path: Path = FILE) -> Monitoring:
    """Read what is watched; pydantic's ValidationError says what is wrong with it."""
    return Monitoring.model_validate(yaml.safe_load(path.read_text()))
