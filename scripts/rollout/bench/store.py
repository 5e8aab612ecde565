"""The bench's own S3: SeaweedFS over TLS, because pgBackRest speaks no other, in the server's folder; gone with it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import tenacity
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rollout import environment
from rollout.children import die_with_parent
from rollout.errors import Failed
from rollout.sandbox import binaries, ports

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET, REGION, HOST = "bench", "us-east-1", "127.0.0.1"
START_SECONDS = 60.0
STOP_STEPS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))  # what it holds is thrown away
PARTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class Store:
    """A running store. `authority`: the certificate that its clients are to trust; `access`, `secret`: as S3 names them."""

    port: int
    authority: Path
    credentials: Path
    access: str
    secret: str

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"https://{HOST}:{self.port}"

    def config(self, prefix: str) -> environment.ObjectStore:
        """Return how this repository's client is told of it."""
        return environment.ObjectStore(
            endpoint_url=self.url, region=REGION, bucket=BUCKET, prefix=prefix, credentials_file=str(self.credentials)
        )

    def client(self) -> S3Client:
        """Return a client for the bench's own use."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION, aws_access_key_id=self.access, aws_secret_access_key=self.secret,
            verify=str(self.authority), config=Config(connect_timeout=2, read_timeout=15, retries={"total_max_attempts": 1}),
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return what boto3 and the AWS CLI read beside that; no secret is in it, they come from a file."""
        return {
            "AWS_CA_BUNDLE": str(self.authority), "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_CONFIG_FILE": os.devnull, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[Store]:
    """Run a store below `folder` with an empty bucket; end it at the end. Raise Failed when it does not start."""
    home = folder / "store"
    (home / "data").mkdir(parents=True, mode=0o700)
    # Not in its home: pgBackRest runs as the server's account and reads the certificate. And the two have to lie together.
    authority, key = folder / "store.crt", folder / "store.key"
    _certify(authority, key)
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    who = {
        "name": "bench", "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }  # fmt: skip
    _private(home / "s3.json", json.dumps({"identities": [who]}))
    _private(home / "credentials", f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    found = ports.choose([f"{part}.port{kind}" for part in PARTS for kind in ("", ".grpc")] + ["s3.port.https"])
    argv = [
        str(binaries.from_wheels().weed), "-logtostderr=true", "server", "-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}",
        *(f"-{name}={port}" for name, port in found.items()),
        "-s3", "-s3.config=s3.json", f"-s3.cert.file={authority}", f"-s3.key.file={key}",
        "-filer.disableHttp", "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=1024",
        "-volume.max=0", "-volume.minFreeSpace=1", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    with (folder / "store.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, start_new_session=True,
            env={"PATH": os.defpath, "HOME": str(home)}, preexec_fn=die_with_parent,  # noqa: PLW1509  (one system call)
        )  # fmt: skip
    try:
        store = Store(found["s3.port.https"], authority, home / "credentials", access, secret)
        _await(store, process, folder / "store.log")
        yield store
    finally:
        _end(process)
        for part in PARTS:  # it leaves these in /tmp, and their place cannot be chosen
            Path(f"/tmp/seaweedfs-{part}-grpc-{found[f'{part}.port.grpc']}.sock").unlink(missing_ok=True)  # noqa: S108


def _await(store: Store, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the bucket is made and holds an object, then take that away."""
    waiting = tenacity.Retrying(
        stop=lambda state: process.poll() is not None or (state.seconds_since_start or 0) > START_SECONDS,
        wait=tenacity.wait_fixed(0.2), retry=tenacity.retry_if_exception_type((ClientError, BotoCoreError)), reraise=True,
    )  # fmt: skip
    try:
        client = store.client()
        waiting(_make_bucket, client)
        waiting(client.put_object, Bucket=BUCKET, Key="first", Body=b"volumes are there")
        client.delete_object(Bucket=BUCKET, Key="first")
    except (ClientError, BotoCoreError) as error:
        said = (log.read_text(errors="replace").strip().splitlines() or [str(error)])[-1]
        raise Failed(f"the object store did not start: {said}", next="correct that, or name another --directory") from None


def _make_bucket(client: S3Client) -> None:
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        client.create_bucket(Bucket=BUCKET)


def _certify(certificate: Path, key: Path) -> None:
    """Write a certificate for loopback that is its own authority, and its key; both are gone with the folder."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rollout bench")])
    names = [x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")]  # pgBackRest compares names alone
    began = datetime.now(UTC) - timedelta(minutes=5)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number(), began, began + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    form, way = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _private(key, private.private_bytes(form, way, serialization.NoEncryption()).decode())
    certificate.write_bytes(made.public_bytes(form))


def _private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, seconds in STOP_STEPS:
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
