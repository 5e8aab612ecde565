"""An environment: which hosts, stores and limits a rollout works with, read from an inventory and checked whole.

`ansible-inventory` does the reading, so that what the playbooks see and what the library sees are one thing.
Inventory values that the library uses hold no Jinja; commands may hold `{host}`, `{release}`, `{release_dir}` and
`{python}`, filled in by `release.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
Tier = Literal["oltp", "content", "queue", "olap"]
TIERS: tuple[Tier, ...] = ("oltp", "content", "queue", "olap")
KNOWN = ("sandbox", "staging", "production")
HostSet = Literal["live", "staging"]
Percent = Annotated[int, Field(ge=1, le=99)]
Seconds = Annotated[float, Field(gt=0)]
Limit = Annotated[float, Field(gt=0)] | None  # null: stated as not looked at


class _Strict(BaseModel):
    """A typo in an inventory is an error before anything runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Strict):
    """One Postgres database of a tier, reached over TCP by the runner's role (owner of the schema, not superuser's equal)."""

    host: str
    tier: Tier
    host_set: HostSet
    address: str
    port: int
    dbname: str
    user: str
    passfile: str
    app_role: str
    worker_role: str | None = None  # works the queue of all tenants; a second role of the application
    replication_user: str | None = None  # may copy the server and its log; null where the server does not let anybody

    @property
    def app_roles(self) -> list[str]:
        """Return the roles under which the application connects."""
        return [self.app_role] if self.worker_role is None else [self.app_role, self.worker_role]

    def conninfo(self, application_name: str = "rollout") -> str:
        """Return a libpq connection string; the password stays in the passfile."""
        return make_conninfo(
            host=self.address, port=self.port, dbname=self.dbname, user=self.user, passfile=self.passfile,
            application_name=application_name, connect_timeout=5,
        )


class Redis(_Strict):
    """One Redis (or Valkey) server, or any node of a cluster.

    `passfile` holds the password of `user` (None: the default user) and nothing else. `tls_ca`: the file of the
    authorities to trust (None: the system's); without `tls` nothing is encrypted.
    """

    host: str
    host_set: HostSet
    address: str
    port: int
    user: str | None = None
    passfile: str | None = None
    tls: bool = False
    tls_ca: str | None = None


class Application(_Strict):
    """One process of the application: where it answers, and the name that the load balancer has for it."""

    host: str
    colour: Literal["blue", "green"]
    url: str
    haproxy_server: str
    release_dir: str


class LoadBalancer(_Strict):
    """HAProxy: its runtime socket, its log (one JSON object a request) and the backend that holds both colours."""

    url: str
    socket: str
    log: str
    backend: str


class ObjectStore(_Strict):
    """An S3 bucket with versioning and object lock. `prefix` keeps environments apart within it."""

    endpoint_url: str | None
    region: str
    bucket: str
    prefix: str
    credentials_file: str
    recipient: str | None = None  # an age public key: snapshots and the log are encrypted for it before they leave the runner
    identity_file: str | None = None  # the private key, where they are to be proven or restored


class Settings(_Strict):
    """Limits and durations, their unit in the name; every environment states them all (inventories/<env>/group_vars)."""

    stall_budget_total_ms: int
    stall_budget_once_ms: int
    lock_attempts_max: int
    chunk_target_ms: int
    copy_lanes: Annotated[int, Field(ge=1, le=8)]
    compare_connections: Annotated[int, Field(ge=1, le=2)]
    blocker_transaction_max_seconds: Seconds
    blocker_wait_max_seconds: Seconds
    terminate_blockers: bool
    throttle_probe_latency_max_ms: Limit
    throttle_replica_lag_max_seconds: Limit
    throttle_replica_lag_max_mib: Limit
    throttle_ignored_replicas: list[str]
    throttle_slot_backlog_max_mib: Limit
    throttle_archive_backlog_max_files: Limit
    throttle_wal_rate_max_mib_per_second: Limit
    throttle_dead_rows_max_percent: Limit
    throttle_oldest_xmin_max_transactions: Limit
    throttle_checkpoints_requested_max_per_minute: Limit
    throttle_hold_max_seconds: Seconds
    traffic_steps_percent: list[Percent]
    gate_window_seconds: Seconds
    gate_deadline_seconds: Seconds
    gate_samples_min: int
    gate_error_rate_max: float
    gate_latency_ratio_max: float
    gate_latency_slack_ms: float
    gate_queue_age_max_seconds: Seconds
    drain_timeout_seconds: Seconds
    cutover_watch_seconds: Seconds
    snapshot_age_max_seconds: Seconds
    finalize_snapshot_age_max_seconds: Seconds
    snapshot_jobs: Annotated[int, Field(ge=1, le=16)]
    snapshot_retention_days: dict[Tier, Annotated[int, Field(ge=1)]]
    recovery_point_max_seconds: dict[Tier, Annotated[float, Field(ge=0)]]  # 0: nothing may be lost
    recovery_time_max_seconds: dict[Tier, Seconds]
    disk_free_min_gib: float
    lease_seconds: Seconds
    release_before: str
    release_after: str
    release_build_command: list[str]
    release_start_command: list[str]
    release_stop_command: list[str]
    release_application_names: list[str]

    def stated(self, name: str) -> Any:
        """Return a setting that its reader can do without; None where it is null or, in one made by hand, left out."""
        return getattr(self, name, None)


class Environment(_Strict):
    """Everything that a run needs to know about where it works."""

    name: str
    databases: list[Database]
    redis: list[Redis]
    applications: list[Application]
    load_balancer: LoadBalancer
    object_store: ObjectStore
    settings: Settings
    artifacts: str

    def tier(self, tier: str, host_set: HostSet = "live") -> list[Database]:
        """Return the databases of one tier in the inventory's order."""
        return [d for d in self.databases if d.tier == tier and d.host_set == host_set]

    def database(self, host: str) -> Database:
        """Return the database of an inventory host; KeyError is a defect of a playbook."""
        return {d.host: d for d in self.databases}[host]

    def colour(self, colour: str) -> list[Application]:
        """Return the application processes of one colour."""
        return [a for a in self.applications if a.colour == colour]

    def redis_of(self, host_set: HostSet = "live") -> Redis:
        """Return the Redis of a host set."""
        return next(r for r in self.redis if r.host_set == host_set)


def sandbox_name() -> str:
    """Return which sandbox this shell means: ROLLOUT_SANDBOX, or `default`."""
    return os.environ.get("ROLLOUT_SANDBOX", "default")


def inventory_sources(name: str) -> list[Path]:
    """Return the inventory sources of an environment; raise BadInput when it is unknown or its sandbox is not up."""
    if name not in KNOWN or not (ROOT / "inventories" / name).is_dir():
        raise BadInput(
            f"unknown environment {name!r}", limit=f"one of {', '.join(KNOWN)}", next="invoke status -e sandbox"
        )
    sources = [ROOT / "inventories" / name]
    if name == "sandbox":
        ports = ROOT / ".sandbox" / sandbox_name() / "inventory.yml"
        if not ports.exists():
            raise BadInput(
                f"the sandbox {sandbox_name()!r} is not up", next="invoke sandbox.up", page="runbooks/sandbox.md"
            )
        sources.append(ports)
    return sources


def load(name: str) -> Environment:
    """Read and check an environment's inventory; raise BadInput with the first thing that is wrong."""
    argv = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
    for source in inventory_sources(name):
        argv += ["-i", str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BadInput(f"the inventory of {name} cannot be read: {reason}", next=f"correct inventories/{name}")
    return from_inventory(name, json.loads(done.stdout))


def from_inventory(name: str, listing: dict[str, Any]) -> Environment:
    """Build an environment from `ansible-inventory --list`; raise BadInput on a missing group or a wrong value."""
    hostvars: dict[str, dict[str, Any]] = listing.get("_meta", {}).get("hostvars", {})

    def members(group: str) -> list[str]:
        hosts = _hosts(listing, group)
        if not hosts:
            raise BadInput(
                f"the inventory of {name} has no hosts in group {group!r}",
                next=f"add them in inventories/{name}/hosts.yml",
            )
        return hosts

    def pick(host: str, *prefixes: str) -> dict[str, Any]:
        return {k.removeprefix(p): v for p in prefixes for k, v in hostvars[host].items() if k.startswith(p)}

    sets: tuple[tuple[HostSet, str], ...] = (("live", ""), ("staging", "staging_"))
    shared = hostvars[members("load_balancer")[0]]
    try:
        return Environment(
            name=name,
            databases=[
                Database(host=h, tier=t, host_set=s, **pick(h, "postgres_"))
                for s, prefix in sets
                for t in TIERS
                for h in members(prefix + t)
            ],
            redis=[
                Redis(host=h, host_set=s, **pick(h, "redis_")) for s, prefix in sets for h in members(prefix + "redis")
            ],
            applications=[
                Application(host=h, colour=c, **pick(h, "app_")) for c in ("blue", "green") for h in members("app_" + c)
            ],
            load_balancer=LoadBalancer(**pick(members("load_balancer")[0], "haproxy_")),
            object_store=ObjectStore(**shared.get("object_store", {})),
            settings=Settings(**shared.get("rollout_settings", {})),
            artifacts=str(ROOT / "artifacts" / (name if name != "sandbox" else f"sandbox-{sandbox_name()}")),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"the inventory of {name} is wrong at {error.title}.{where}: {first['msg']}",
            next=f"correct inventories/{name}",
        ) from None


def save(environment: Environment, path: Path) -> None:
    """Write an environment for the processes of a run; it holds paths of secrets, never secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.model_dump_json(indent=2))


def read(path: str | Path) -> Environment:
    """Read what `save` wrote."""
    return Environment.model_validate_json(Path(path).read_text())


def _hosts(listing: dict[str, Any], group: str) -> list[str]:
    entry = listing.get(group, {})
    found = list(entry.get("hosts", []))
    for child in entry.get("children", []):
        found += [h for h in _hosts(listing, child) if h not in found]
    return found
