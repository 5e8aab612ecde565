"""The generated inventory of a sandbox: addresses, ports and the places of secrets (never secrets)."""

from __future__ import annotations

from typing import Any

import yaml

from rollout.sandbox import balancer, postgres, record, seaweedfs
from rollout.sandbox.fleet import Fleet
from rollout.sandbox.layout import Layout


def hosts(layout: Layout, fleet: Fleet) -> dict[str, dict[str, Any]]:
    """Return the variables of each host, as environment.py names them."""
    found: dict[str, dict[str, Any]] = {}
    for server in fleet.postgres:
        found[server.host] = {
            "postgres_address": "127.0.0.1",
            "postgres_port": server.port,
            "postgres_dbname": server.dbname,
            "postgres_user": postgres.RUNNER,
            "postgres_passfile": str(layout.passfile),
            "postgres_app_role": postgres.APPLICATION,
            "postgres_worker_role": postgres.WORKER,
            "postgres_replication_user": postgres.BACKUP,
        }
    for redis in fleet.redis:
        found[redis.host] = {"redis_address": "127.0.0.1", "redis_port": redis.port}
    for application in fleet.applications:
        found[application.host] = {
            "app_url": f"http://127.0.0.1:{application.port}",
            "app_haproxy_server": application.host.removeprefix("app-"),
            "app_release_dir": str(application.release),
        }
    found[fleet.balancer.host] = {
        "haproxy_url": f"http://127.0.0.1:{fleet.balancer.port}",
        "haproxy_socket": f"127.0.0.1:{fleet.balancer.ports['admin']}",
        "haproxy_log": str(fleet.balancer.requests),
        "haproxy_backend": balancer.BACKEND,
    }
    return found


def write(layout: Layout, fleet: Fleet) -> None:
    """Write the inventory, whole or not at all; its existence says that the sandbox is up."""
    store = {
        "endpoint_url": f"http://127.0.0.1:{fleet.object_store.port}",
        "region": seaweedfs.REGION,
        "bucket": seaweedfs.BUCKET,
        "prefix": "sandbox/",
        "credentials_file": str(layout.credentials),
    }
    document = {"all": {"hosts": hosts(layout, fleet), "vars": {"object_store": store}}}
    record.replace(
        layout.inventory,
        "# Written by sandbox.up; the groups are in inventories/sandbox/hosts.yml\n" + yaml.safe_dump(document),
    )
