"""The object store: SeaweedFS with its S3 port, one bucket with versioning and object lock."""

from __future__ import annotations

import json
import os
import secrets
import signal
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from rollout.errors import Failed
from rollout.sandbox import record
from rollout.sandbox.layout import Ground, Layout
from rollout.sandbox.server import Server

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "penguin-rollout"
REGION = "us-east-1"


@dataclass(frozen=True)
class SeaweedFS(Server):
    """`weed server -s3`; every port it would open is on loopback and recorded."""

    kind: ClassVar[str] = "object store"

    # Volumes and filer are closed some 10 ms after SIGTERM; what is left waits 15 s for idle connections.
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0))

    def launch(self, ground: Ground) -> None:
        """Write the identity that S3 knows and start the server."""
        folder = ground.server(self.host)
        data = folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        ground.own(data)
        access, secret = read_credentials(self.layout)
        identity = {
            "name": "rollout",
            "credentials": [{"accessKey": access, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        ground.write(folder / "s3.json", json.dumps({"identities": [identity]}))
        ports = self.ports
        self.layout.pidfile(self.host).start(
            [
                str(ground.binaries.weed), "-logtostderr=true", "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-master.port={ports['master']}", f"-master.port.grpc={ports['master-grpc']}",
                f"-volume.port={ports['volume']}", f"-volume.port.grpc={ports['volume-grpc']}",
                f"-filer.port={ports['filer']}", f"-filer.port.grpc={ports['filer-grpc']}",
                "-s3", f"-s3.port={ports['s3']}", f"-s3.port.grpc={ports['s3-grpc']}", "-s3.config=s3.json",
                # Object lock is kept at the S3 port only: the filer, which knows no lock, answers no HTTP.
                "-filer.disableHttp", "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock",
                # Both would stand on fixed ports, in the way of a second sandbox.
                "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=512",
                "-volume.max=0", "-volume.minFreeSpace=1", "-volume.preStopSeconds=0",
            ],
            folder=folder, log=self.layout.log(self.host), env={"PATH": os.defpath, "HOME": str(folder)}, account=ground.account,
        )  # fmt: skip

    def ask(self) -> None:
        """List the buckets with the generated credentials."""
        self._client().list_buckets()

    def complete(self) -> None:
        """Make the bucket, with versioning and object lock, unless it is there."""
        client = self._client(read_timeout=15)
        try:
            client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        versioning = client.get_bucket_versioning(Bucket=BUCKET).get("Status")
        if versioning != "Enabled":
            client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        lock = client.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"].get("ObjectLockEnabled")
        if lock != "Enabled":
            raise Failed(
                f"bucket {BUCKET} has no object lock", next="invoke sandbox.down --purge, then invoke sandbox.up"
            )

    def down(self) -> bool:
        """Stop the server and remove the sockets that it leaves in /tmp (their place cannot be chosen)."""
        ran = super().down()
        for use, port in self.ports.items():
            if use.endswith("-grpc"):
                Path(f"/tmp/seaweedfs-{use}-{port}.sock").unlink(missing_ok=True)  # noqa: S108  (weed names it)
        return ran

    def _client(self, read_timeout: int = 3) -> S3Client:
        access, secret = read_credentials(self.layout)
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=REGION,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(connect_timeout=1, read_timeout=read_timeout, retries={"total_max_attempts": 1}),
        )


def create_credentials(layout: Layout) -> None:
    """Generate the S3 credentials once; a file that exists is kept."""
    if not layout.credentials.exists():
        record.replace(
            layout.credentials,
            f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_urlsafe(30)}\n",
        )


def read_credentials(layout: Layout) -> tuple[str, str]:
    """Return access key and secret key."""
    parser = ConfigParser(interpolation=None)
    parser.read_string(layout.credentials.read_text())
    return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]
