"""The object store of an environment: conditional writes, checked transfers, and the store's own clock.

What is built on it (leases, journals, manifests) needs two promises from S3: a create that only one writer wins
(`If-None-Match: *`) and a replace that only the holder of the newest ETag wins (`If-Match`). `probe` tests them.

An `ObjectStore` may be shared by threads, not across a fork: make one in each process.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from rollout import environment, sealed, transfer
from rollout.errors import BadInput, Failed
from rollout.transfer import Stored

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from rollout.storeprobe import Finding

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30
ATTEMPTS = 5
CONFLICT_DEADLINE_SECONDS = 30
Result = TypeVar("Result")

__all__ = ["AlreadyExists", "Conflict", "NotFound", "ObjectStore", "Stored"]


class AlreadyExists(Failed):
    """A create lost: the key holds an object already."""


class Conflict(Failed):
    """A replace lost: the object is not (or no longer) the one whose ETag was given."""


class NotFound(Failed):
    """No object has this key."""


class ObjectStore:
    """One environment's part of a bucket. Keys are relative to the configured prefix."""

    def __init__(self, config: environment.ObjectStore) -> None:
        """Read the credentials and prepare a client; nothing is sent. Raise BadInput when they cannot be used."""
        self.config = config
        self.bucket = config.bucket
        self.prefix = config.prefix.strip("/") + "/" if config.prefix.strip("/") else ""
        self.client = _client(config)

    @cached_property
    def locks(self) -> bool:
        """Whether the bucket keeps objects under lock; asked once. One that may not or cannot tell is taken for one that does
        not; raise Failed when the store does not work, since nothing may be stored unlocked for that."""
        with self._errors("tell whether it locks", ""):
            try:
                found = self.client.get_object_lock_configuration(Bucket=self.bucket)
            except ClientError as error:
                if _broken(error):
                    raise
                return False
        return found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"

    def create(self, key: str, data: bytes) -> str:
        """Write a new object and return its ETag; raise AlreadyExists when the key is taken."""
        return self._put(key, data, condition={"IfNoneMatch": "*"}, lost=AlreadyExists)

    def replace(self, key: str, data: bytes, etag: str) -> str:
        """Overwrite the object that has this ETag and return the new one; raise Conflict when it is another or gone."""
        return self._put(key, data, condition={"IfMatch": etag}, lost=Conflict)

    def read(self, key: str) -> tuple[bytes, str]:
        """Return an object's bytes and ETag; raise NotFound. For small objects: it is held in memory."""
        with self._errors(f"read {key}", key):
            # Inside the retries: a connection that breaks in the middle of a body is not retried by botocore.
            def once() -> tuple[bytes, str]:
                got = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
                return got["Body"].read(), got["ETag"]

            return _retried(once)

    def exists(self, key: str) -> bool:
        """Tell whether the key holds an object."""
        try:
            with self._errors(f"look up {key}", key):
                self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
        except NotFound:
            return False
        return True

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in order, a page of 1,000 at a time."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._errors(f"list {prefix}", prefix):
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self.prefix)

    def remove(self, key: str) -> None:
        """Remove an object from what is listed; a versioned bucket keeps it until its lifecycle ends it."""
        with self._errors(f"remove {key}", key):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def versions(self, key: str) -> int | None:
        """Return how often an object was written or removed; None where the store does not keep that, or may not tell. Raise
        Failed when the store does not work: what was not asked is not known to be untouched."""
        with self._errors(f"list the versions of {key}", ""):
            try:
                found = self.client.list_object_versions(Bucket=self.bucket, Prefix=self.prefix + key)
            except ClientError as error:
                if _broken(error):
                    raise
                return None
        listed = [*found.get("Versions", []), *found.get("DeleteMarkers", [])]
        return sum(one.get("Key") == self.prefix + key for one in listed) or None

    def now(self) -> datetime:
        """Return the store's time, cut to whole seconds: the one clock that all runners of an environment share."""
        with self._errors("ask the time", ""):
            answer = self.client.head_bucket(Bucket=self.bucket)
            return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def upload(self, key: str, source: IO[bytes] | Path | str, *, retain_until: datetime | None = None) -> Stored:
        """Store a file or a stream read to its end, in parts; memory is bounded by two parts. An existing key gets a
        new version. Raise Failed when the store does not hold all bytes afterwards. `retain_until`: where the bucket locks, no
        version goes before then. Where the environment names a recipient it is encrypted, and its key says so."""
        locked = retain_until if self.locks else None
        recipient = self.config.recipient
        key = sealed.key_of(key, recipient)
        with self._errors(f"upload {key}", key):
            if isinstance(source, (str, Path)):
                with open(source, "rb") as stream:
                    return self._upload(key, stream, locked)
            return self._upload(key, source, locked)

    def download(self, key: str, target: IO[bytes] | Path | str, sha256: str, *, version_id: str | None = None) -> int:
        """Fetch an object and return its size in bytes; raise Failed when its SHA-256 (hex) is not the one given.

        A path appears only when the bytes were right; a stream has received them by the time a mismatch is known.
        """
        if key.endswith(sealed.SUFFIX):
            return self._download_sealed(key, target, sha256, version_id)
        with self._errors(f"download {key}", key):
            return transfer.download(self.client, self.bucket, self.prefix + key, target, sha256, version_id=version_id)

    def _upload(self, key: str, stream: IO[bytes], retain_until: datetime | None) -> Stored:
        read = sealed.seal(stream, self.config.recipient)
        try:
            return transfer.upload(self.client, self.bucket, self.prefix + key, read, name=key, retain_until=retain_until)
        finally:
            if read is not stream:
                read.close()  # nothing reads from the caller's stream any more when it is the caller's again

    def _download_sealed(self, key: str, target: IO[bytes] | Path | str, sha256: str, version_id: str | None) -> int:
        """Fetch and decrypt; a path appears only when the bytes were right."""
        if isinstance(target, (str, Path)):
            partial = Path(target).with_name(f"{Path(target).name}.{uuid.uuid4().hex[:8]}.partial")
            try:
                with partial.open("xb") as stream:
                    size = self._download_sealed(key, stream, sha256, version_id)
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
            return size
        opened = sealed.opener(key, target, self.config.identity_file)
        with self._errors(f"download {key}", key):
            try:
                size = transfer.download(self.client, self.bucket, self.prefix + key, opened, sha256, version_id=version_id)
            except BaseException:
                with contextlib.suppress(Failed):  # that half of it does not decrypt is not what went wrong
                    opened.close()
                raise
            opened.close()
            return size

    def sweep_uploads(self, prefix: str, *, older_than_seconds: float) -> int:
        """Abort uploads that a killed process left under `prefix`, and return how many; the store keeps their parts
        (and bills for them) until somebody does."""
        with self._errors(f"sweep {prefix}", prefix):
            return transfer.sweep(self.client, self.bucket, self.prefix + prefix, self.now(), older_than_seconds)

    def probe(self) -> list[Finding]:
        """Test the promises that a run relies on, leave nothing behind, and return what was found."""
        from rollout import storeprobe

        return storeprobe.probe(self)

    def _put(self, key: str, data: bytes, *, condition: dict[str, str], lost: type[Failed]) -> str:
        writer = uuid.uuid4().hex
        target = {"Bucket": self.bucket, "Key": self.prefix + key}

        def once() -> str:
            return self.client.put_object(**target, Body=data, Metadata={"writer": writer}, **condition)["ETag"]  # type: ignore[arg-type]

        with self._errors(f"write {key}", key):
            try:
                return _retried(once)
            except ClientError as error:
                if _status(error) not in (404, 412) or _code(error) == "NoSuchBucket":
                    raise
                # A first attempt that was written but whose answer was lost makes the client's own retry lose
                # against itself: the object then carries this call's mark.
                mine = _retries(error) and self._written_by(target, writer)
                if mine:
                    return mine
            raise lost(
                f"{key} was not written: {'it exists' if lost is AlreadyExists else 'it was changed by somebody else'}",
                next="read it again and decide anew",
            )

    def _written_by(self, target: dict[str, str], writer: str) -> str:
        try:
            head = self.client.head_object(**target)  # type: ignore[arg-type]
        except ClientError as error:
            if _status(error) == 404:
                return ""
            raise
        return head["ETag"] if head["Metadata"].get("writer") == writer else ""

    @contextlib.contextmanager
    def _errors(self, act: str, key: str) -> Iterator[None]:
        """Turn botocore's errors into ours; codes only, since messages may quote what was signed."""
        page = "runbooks/object-store.md"
        try:
            yield
        except ClientError as error:
            code, status = _code(error), _status(error)
            if status == 404 and code != "NoSuchBucket" and key:
                raise NotFound(f"the object store has no {key}", next="invoke status", page=page) from None
            raise Failed(
                f"the object store refused to {act}: {code} (HTTP {status})",
                next=f"check bucket {self.bucket!r} and the rights of its credentials",
                page=page,
                verdict="inconclusive" if _broken(error) else "fail",
            ) from None
        except BotoCoreError as error:
            raise Failed(
                f"the object store did not answer ({act}): {type(error).__name__}",
                limit=f"{ATTEMPTS} attempts, {READ_TIMEOUT_SECONDS} s each",
                next="see that the store is reachable, then give the same command again",
                page=page,
                verdict="inconclusive",
            ) from None


def _client(config: environment.ObjectStore) -> S3Client:
    access, secret, token = _credentials(Path(config.credentials_file))
    session = botocore.session.Session()
    # Whatever AWS_PROFILE or ~/.aws say on this machine: a run depends on its inventory alone.
    session.set_config_variable("profile", "default")
    session.set_config_variable("config_file", os.devnull)
    session.set_config_variable("credentials_file", config.credentials_file)
    session.set_config_variable("ignore_configured_endpoint_urls", True)
    return boto3.session.Session(
        aws_access_key_id=access, aws_secret_access_key=secret, aws_session_token=token, botocore_session=session
    ).client(
        "s3",
        region_name=config.region,
        endpoint_url=config.endpoint_url,
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            max_pool_connections=16,
            s3={"addressing_style": "path" if config.endpoint_url else "auto"},
        ),
    )


def _credentials(path: Path) -> tuple[str, str, str | None]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        parser.read_string(path.read_text())
        found = parser["default"]
        keys = found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token")
    except (OSError, KeyError, UnicodeDecodeError, configparser.Error) as error:
        # The parser's own message may quote a line of the file.
        raise BadInput(
            f"the object store's credentials cannot be read from {path}: {type(error).__name__}",
            limit="AWS shared credentials format, profile default",
            next="correct object_store.credentials_file in the inventory, or the file",
        ) from None
    if mode & 0o077:
        raise BadInput(f"{path} can be read by others (mode {mode:04o})", limit="mode 0600", next=f"chmod 600 {path}")
    return keys


def _retried(act: Callable[[], Result]) -> Result:
    """Repeat after a 409 (two conditional writes at the same instant) and a broken body; botocore does the 5xx."""
    for attempt in Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, HTTPClientError) or _is_collision(e)),
        stop=stop_after_delay(CONFLICT_DEADLINE_SECONDS),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        reraise=True,
    ):
        with attempt:
            return act()
    raise AssertionError("unreachable: tenacity re-raises")


def _is_collision(error: BaseException) -> bool:
    return isinstance(error, ClientError) and _status(error) in (409, 503)


def _broken(error: ClientError) -> bool:
    """Tell whether the store did not do its work, as against having said no."""
    return _status(error) >= 500 and _status(error) != 501  # 501: it has no such thing


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "unknown")


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _retries(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
