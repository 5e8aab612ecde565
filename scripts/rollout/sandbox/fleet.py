"""All servers of a sandbox, by inventory host, and the ports they need."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.environment import TIERS
from rollout.sandbox.application import Application
from rollout.sandbox.balancer import Balancer
from rollout.sandbox.layout import Layout
from rollout.sandbox.postgres import APPLICATION, WORKER, Postgres
from rollout.sandbox.seaweedfs import SeaweedFS
from rollout.sandbox.server import Server
from rollout.sandbox.valkey import Valkey

OBJECT_STORE = "object-store-1"
LOAD_BALANCER = "lb-1"
_WEED_PORTS = ("s3", "s3-grpc", "master", "master-grpc", "volume", "volume-grpc", "filer", "filer-grpc")
_APPLICATIONS = {f"app-{colour}-{n}": colour for colour in ("blue", "green") for n in (1, 2)}


@dataclass(frozen=True)
class Fleet:
    """The servers in the order in which the stages of `up` start them; `down` goes the other way."""

    postgres: list[Postgres]
    redis: list[Valkey]
    object_store: SeaweedFS
    applications: list[Application]
    balancer: Balancer

    @property
    def stores(self) -> list[Server]:
        """Everything that holds data."""
        return [*self.postgres, *self.redis, self.object_store]

    @property
    def all(self) -> list[Server]:
        """Every server."""
        return [*self.stores, *self.applications, self.balancer]

    def application(self, host: str) -> Application | None:
        """Return the application process of a host, None when there is no such host."""
        return next((a for a in self.applications if a.host == host), None)


def port_keys() -> list[str]:
    """Return the key of every port that a sandbox needs; a host has one port named after it, or `host/use`."""
    keys = [f"{prefix}pg-{tier}-1" for prefix in ("", "staging-") for tier in TIERS]
    keys += ["redis-1", "staging-redis-1", *(f"{OBJECT_STORE}/{use}" for use in _WEED_PORTS)]
    return [*keys, *_APPLICATIONS, f"{LOAD_BALANCER}/web", f"{LOAD_BALANCER}/admin"]


def of(layout: Layout, ports: dict[str, int]) -> Fleet:
    """Return the fleet that stands on the recorded ports."""

    def mine(host: str) -> dict[str, int]:
        return {
            key.removeprefix(f"{host}/"): port
            for key, port in ports.items()
            if key == host or key.startswith(f"{host}/")
        }

    postgres = [
        Postgres(host=f"{prefix}pg-{tier}-1", layout=layout, ports=mine(f"{prefix}pg-{tier}-1"), tier=tier)
        for prefix in ("", "staging-")
        for tier in TIERS
    ]
    redis = [Valkey(host=host, layout=layout, ports=mine(host)) for host in ("redis-1", "staging-redis-1")]
    live = {p.tier: p for p in postgres if not p.host.startswith("staging-")}
    dsns = {f"{tier.upper()}_DSN": server.conninfo(APPLICATION) for tier, server in live.items()}
    dsns["WORKER_DSN"] = live["queue"].conninfo(WORKER)
    dsns["REDIS_URL"] = f"redis://127.0.0.1:{redis[0].port}/0"
    return Fleet(
        postgres=postgres,
        redis=redis,
        object_store=SeaweedFS(host=OBJECT_STORE, layout=layout, ports=mine(OBJECT_STORE)),
        applications=[
            Application(host=host, layout=layout, ports=mine(host), colour=colour, dsns=dsns)
            for host, colour in _APPLICATIONS.items()
        ],
        balancer=Balancer(
            host=LOAD_BALANCER,
            layout=layout,
            ports=mine(LOAD_BALANCER),
            applications={host.removeprefix("app-"): ports[host] for host in _APPLICATIONS},
        ),
    )
