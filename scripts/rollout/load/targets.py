"""What the load works on: a sample of what the databases hold at the start, and what it has created itself since."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from rollout.environment import Environment
from rollout.errors import BadInput

SQL = Path(__file__).parent / "sql"
KEPT_MAX = 2000
T = TypeVar("T")


@dataclass(frozen=True)
class Company:
    """A company and its tenant."""

    tenant_id: str
    company_id: str


@dataclass(frozen=True)
class Campaign:
    """A campaign with a lead of its tenant, either as found or created by the load."""

    tenant_id: str
    company_id: str
    campaign_id: str
    lead_id: str | None


@dataclass(frozen=True)
class Message:
    """A message and its tenant, who alone may ask for it."""

    tenant_id: str
    key: str


@dataclass
class Targets:
    """Bounded lists to draw from. `own_*` are acknowledged creations of this load, which nobody else touches."""

    companies: list[Company]
    campaigns: deque[Campaign]
    messages: list[Message]
    own_messages: deque[Message] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    own_campaigns: deque[Campaign] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    busy: set[str] = field(default_factory=set)

    def message(self, rng: random.Random) -> Message | None:
        """Draw a message that exists, an own one every other time."""
        source = self.own_messages if self.own_messages and (not self.messages or rng.random() < 0.5) else self.messages
        return pick(rng, source)

    def campaign(self, rng: random.Random) -> Campaign | None:
        """Draw a campaign that exists, an own one every other time."""
        source = (
            self.own_campaigns if self.own_campaigns and (not self.campaigns or rng.random() < 0.5) else self.campaigns
        )
        return pick(rng, source)


def pick(rng: random.Random, source: Sequence[T]) -> T | None:
    """Draw one, or None from nothing."""
    return source[rng.randrange(len(source))] if source else None


def sample(environment: Environment) -> Targets:
    """Read the sample from the live databases; raise BadInput when there is no company to work for.

    Each query walks an index from a random or an end point, so it costs the same at any scale.
    """
    with _connect(environment, "oltp") as oltp:
        companies = [Company(*row) for row in oltp.execute(_sql("sample_companies")).fetchall()]
        campaigns = [Campaign(*row) for row in oltp.execute(_sql("sample_campaigns")).fetchall()]
    with _connect(environment, "content") as content:
        messages = [Message(*row) for row in content.execute(_sql("sample_messages")).fetchall()]
    if not companies:
        raise BadInput("there is no company in oltp to work for", next="seed the environment, e.g. invoke sandbox.up")
    return Targets(companies, deque(campaigns, KEPT_MAX), messages)


def _connect(environment: Environment, tier: str) -> psycopg.Connection[Any]:
    return psycopg.connect(environment.tier(tier)[0].conninfo("rollout-load"), options="-c statement_timeout=30s")


def _sql(name: str) -> bytes:
    return (SQL / f"{name}.sql").read_bytes()
