"""Real servers for the tests of snapshots: a live and a staging Postgres, a live and a staging Valkey, and an S3
store."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any, Literal

import psycopg
from servers import Home, free_port, superuser, within

from rollout import environment
from rollout.environment import TIERS, Database
from rollout.objectstore import ObjectStore


class Servers(Home):
    """Everything below one folder in /tmp; `stop` ends the processes and removes it."""

    def __init__(self) -> None:
        """Start all servers, make the roles and the four empty databases on both sides."""
        super().__init__()
        try:
            self.postgres = {side: self._postgres(side) for side in ("live", "staging")}
            self.redis_ports = {side: self.valkey(f"redis-{side}") for side in ("live", "staging")}
            self.store = ObjectStore(self._seaweedfs())
        except BaseException:
            self.stop()
            raise

    def database(self, tier: str, host_set: Literal["live", "staging"] = "live") -> Database:
        """Return a tier's database; both sides call it by the same name."""
        return Database(
            host=f"{'staging-' if host_set == 'staging' else ''}pg-{tier}-1", tier=tier, host_set=host_set,
            address="127.0.0.1", port=self.postgres[host_set], dbname=f"penguinmails_{tier}", user="penguin_rollout",
            passfile=str(self.passfile), app_role="penguin_app",
        )  # type: ignore[arg-type]  # fmt: skip

    def redis(self, host_set: Literal["live", "staging"] = "live") -> environment.Redis:
        """Return the Redis of a side."""
        name = "redis-1" if host_set == "live" else "staging-redis-1"
        return environment.Redis(host=name, host_set=host_set, address="127.0.0.1", port=self.redis_ports[host_set])

    def superuser(self, database: Database) -> psycopg.Connection[Any]:
        """Return an autocommit connection that may do anything."""
        return superuser(database.port, database.dbname)

    def _postgres(self, side: str) -> int:
        port = self.postgres_server(side)
        with superuser(port) as connection:
            for tier in TIERS:
                connection.execute(f"CREATE DATABASE penguinmails_{tier} OWNER penguin_rollout".encode())
        for tier in TIERS:
            with superuser(port, f"penguinmails_{tier}") as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")
        return port

    def _seaweedfs(self) -> environment.ObjectStore:
        folder = self.folder / "s3"
        (folder / "data").mkdir(parents=True)
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        who = {
            "name": "runner",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        credentials = folder / "credentials"
        credentials.touch(0o600)
        credentials.write_text(f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
        ports = {
            f"{name}.port{kind}": free_port() for name in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")
        }
        self.spawn(
            [Path(sys.executable).with_name("weed"), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             f"-dir={folder / 'data'}",
             f"-s3.config={folder / 's3.json'}", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0",
             "-s3.port.lance=0", "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items())],
        )  # fmt: skip
        config = environment.ObjectStore(
            endpoint_url=f"http://127.0.0.1:{ports['s3.port']}", region="us-east-1", bucket="snapshots", prefix="test",
            credentials_file=str(credentials),
        )  # fmt: skip
        client = ObjectStore(config).client
        within(60, lambda: client.create_bucket(Bucket="snapshots", ObjectLockEnabledForBucket=True))
        within(30, lambda: client.put_object(Bucket="snapshots", Key="first", Body=b"volumes are there"))
        return config
