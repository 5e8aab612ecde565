"""Large objects to and from S3: in parts, hashed on the way by ourselves, checked at the end.

An ETag of a multipart object is no checksum, and botocore compares its own only when a body is read to its end in one
go. The SHA-256 returned here is the one to keep in a manifest.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

from rollout.errors import Failed

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

MIB = 1024 * 1024
PARTS_MAX = 10_000
BLOCK_BYTES = MIB
RESUMES_MAX = 5  # in a row; one that brought this much begins the count anew
PROGRESS_BYTES = 8 * MIB


class Stored(NamedTuple):
    """An object as the store holds it: key relative to the environment's prefix, SHA-256 in hex, size in bytes."""

    key: str
    version_id: str
    sha256: str
    size: int


def part_bytes(number: int) -> int:
    """Return the size of part `number` (from 1): 8 MiB at first, 64 MiB in the end; 10,000 parts hold some 440 GB."""
    return (8 if number <= 500 else 16 if number <= 2_000 else 32 if number <= 5_000 else 64) * MIB


def upload(
    client: S3Client, bucket: str, key: str, stream: IO[bytes], *, name: str, retain_until: datetime | None = None
) -> Stored:
    """Store `stream` under `key` and return what the store then holds, as `name`; raise Failed when that is not all.

    The store checks the SHA-256 of each part; the next one is read meanwhile. `retain_until`: under lock till then.
    """
    digest, writer = hashlib.sha256(), uuid.uuid4().hex
    how: dict[str, Any] = {"Bucket": bucket, "Key": key, "Metadata": {"writer": writer}, "ChecksumAlgorithm": "SHA256"}
    if retain_until is not None:
        how |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": retain_until}
    first = _read_full(stream, part_bytes(1))
    digest.update(first)
    size = len(first)
    if size < part_bytes(1):
        client.put_object(Body=first, **how)
    else:
        size = _upload_parts(client, how, stream, first, digest)
    head = client.head_object(Bucket=bucket, Key=key)
    if head["ContentLength"] != size or head["Metadata"].get("writer") != writer:
        raise Failed(
            f"{name} has {head['ContentLength']} bytes in the store, {size} were sent"
            if head["ContentLength"] != size
            else f"{name} was overwritten by somebody else during its upload",
            next="give the same command again",
            page="runbooks/object-store.md",
        )
    return Stored(name, head.get("VersionId", ""), digest.hexdigest(), size)


def _upload_parts(client: S3Client, how: dict[str, Any], stream: IO[bytes], data: bytes, digest: hashlib._Hash) -> int:
    target = {"Bucket": how["Bucket"], "Key": how["Key"]}
    upload_id = client.create_multipart_upload(**how)["UploadId"]
    parts: list[CompletedPartTypeDef] = []

    def send(number: int, body: bytes) -> None:
        sent = client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": sent["ETag"]}
        if "ChecksumSHA256" in sent:
            part["ChecksumSHA256"] = sent["ChecksumSHA256"]
        parts.append(part)

    size, number = 0, 0
    sender = ThreadPoolExecutor(1)
    try:
        on_its_way: Future[None] | None = None
        while data:
            number += 1
            if number > PARTS_MAX:
                words = f"the stream for {how['Key']} is longer than {size} bytes"
                raise Failed(words, limit=f"{PARTS_MAX} parts", next="split it")
            if on_its_way is not None:
                on_its_way.result()
            on_its_way = sender.submit(send, number, data)
            size += len(data)
            data = _read_full(stream, part_bytes(number + 1))
            digest.update(data)
        if on_its_way is not None:
            on_its_way.result()
    except BaseException:
        sender.shutdown(wait=True)
        with suppress(BotoCoreError, ClientError):  # what went wrong first is what counts; `sweep` takes the upload away
            client.abort_multipart_upload(**target, UploadId=upload_id)
        raise
    finally:
        sender.shutdown(wait=True)
    try:
        client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": parts})
    except (BotoCoreError, ClientError):
        # It may have been completed all the same. Aborting now could destroy the finished object (seaweedfs#10663),
        # so the upload is left to `sweep`, and the object itself says whether it is ours.
        if not _is_ours(client, how["Bucket"], how["Key"], how["Metadata"]["writer"]):
            raise
    return size


def _is_ours(client: S3Client, bucket: str, key: str, writer: str) -> bool:
    try:
        return client.head_object(Bucket=bucket, Key=key)["Metadata"].get("writer") == writer
    except ClientError:
        return False


def download(
    client: S3Client, bucket: str, key: str, target: IO[bytes] | Path | str, sha256: str, *, version_id: str | None
) -> int:
    """Fetch `key` and return its size in bytes; raise Failed when its SHA-256 is not `sha256`."""
    if not isinstance(target, (str, Path)):
        return _fetch(client, bucket, key, target, sha256, version_id)
    path = Path(target)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with open(partial, "xb") as stream:
            size = _fetch(client, bucket, key, stream, sha256, version_id)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _fetch(client: S3Client, bucket: str, key: str, out: IO[bytes], sha256: str, version_id: str | None) -> int:
    digest, size, resumes, counted, etag = hashlib.sha256(), 0, 0, 0, ""
    version = {"VersionId": version_id} if version_id else {}
    while True:
        rest = {"Range": f"bytes={size}-", "IfMatch": etag} if size else {}
        got = client.get_object(Bucket=bucket, Key=key, **version, **rest)  # type: ignore[arg-type]
        etag = got["ETag"]
        try:
            for block in got["Body"].iter_chunks(BLOCK_BYTES):
                out.write(block)
                digest.update(block)
                size += len(block)
            break
        except (HTTPClientError, IncompleteReadError):
            resumes, counted = (resumes, counted) if size - counted < PROGRESS_BYTES else (0, size)
            resumes += 1
            if resumes > RESUMES_MAX:
                raise
    if digest.hexdigest() != sha256:
        raise Failed(
            f"{key} has SHA-256 {digest.hexdigest()} ({size} bytes)",
            limit=f"SHA-256 {sha256}, as recorded when it was stored",
            next="do not use this object; take an older snapshot, and keep this one for the inquiry",
            page="runbooks/object-store.md",
        )
    return size


def sweep(client: S3Client, bucket: str, prefix: str, now: datetime, older_than_seconds: float) -> int:
    """Abort unfinished uploads under `prefix` begun longer ago than that; return how many.

    Only where the key has no object: an abort of an id whose upload was in fact completed can destroy the object.
    """
    swept = 0
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Uploads", []):
            if (now - entry["Initiated"]).total_seconds() < older_than_seconds:
                continue
            try:
                client.head_object(Bucket=bucket, Key=entry["Key"])
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                    raise
                swept += _abort(client, bucket, entry["Key"], entry["UploadId"])
    return swept


def _abort(client: S3Client, bucket: str, key: str, upload_id: str) -> int:
    """Abort an upload and return 1; 0 when another sweep was first."""
    try:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        return 0
    return 1


def _read_full(stream: IO[bytes], size: int) -> bytes:
    """Read until `size` bytes or the end: a pipe returns less than asked for long before it ends."""
    blocks, missing = [], size
    while missing:
        block = stream.read(min(missing, BLOCK_BYTES))
        if not block:
            break
        blocks.append(block)
        missing -= len(block)
    return b"".join(blocks)
