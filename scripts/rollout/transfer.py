"""Large objects to and from S3: in parts, hashed on the way by ourselves, checked at the end.

An ETag of a multipart object is no checksum, and botocore compares its own only when a body is read to its end in one
go. The SHA-256 returned here is the one to keep in a manifest.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from rollout.errors import Failed

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

MIB = 1024 * 1024
PARTS_MAX = 10_000
BLOCK_BYTES = MIB
RESUMES_MAX = 5


class Stored(NamedTuple):
    """An object as the store holds it: key relative to the environment's prefix, SHA-256 in hex, size in bytes."""

    key: str
    version_id: str
    sha256: str
    size: int


def part_bytes(number: int) -> int:
    """Return the size of part `number` (from 1): 16 MiB up to 16 GB, then 64 MiB, which ends at some 580 GB."""
    return 16 * MIB if number <= 1_000 else 64 * MIB


def upload(client: S3Client, bucket: str, key: str, stream: IO[bytes], *, name: str) -> Stored:
    """Store `stream` under `key` and return what the store then holds, as `name`; raise Failed when that is not all."""
    digest, writer = hashlib.sha256(), uuid.uuid4().hex
    first = _read_full(stream, part_bytes(1))
    digest.update(first)
    size = len(first)
    if size < part_bytes(1):
        client.put_object(Bucket=bucket, Key=key, Body=first, Metadata={"writer": writer})
    else:
        size = _upload_parts(client, bucket, key, stream, first, digest, writer)
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


def _upload_parts(
    client: S3Client, bucket: str, key: str, stream: IO[bytes], data: bytes, digest: hashlib._Hash, writer: str
) -> int:
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"writer": writer})["UploadId"]
    parts: list[CompletedPartTypeDef] = []
    size = 0
    try:
        while data:
            number = len(parts) + 1
            if number > PARTS_MAX:
                raise Failed(
                    f"the stream for {key} is longer than {size} bytes", limit=f"{PARTS_MAX} parts", next="split it"
                )
            sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data)
            part: CompletedPartTypeDef = {"PartNumber": number, "ETag": sent["ETag"]}
            if "ChecksumCRC32" in sent:
                part["ChecksumCRC32"] = sent["ChecksumCRC32"]
            parts.append(part)
            size += len(data)
            data = _read_full(stream, part_bytes(number + 1))
            digest.update(data)
    except BaseException:
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        raise
    try:
        client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts})
    except (BotoCoreError, ClientError):
        # It may have been completed all the same. Aborting now could destroy the finished object (seaweedfs#10663),
        # so the upload is left to `sweep`, and the object itself says whether it is ours.
        if not _is_ours(client, bucket, key, writer):
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
    digest, size, resumes, etag = hashlib.sha256(), 0, 0, ""
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
        except HTTPClientError:
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
                client.abort_multipart_upload(Bucket=bucket, Key=entry["Key"], UploadId=entry["UploadId"])
                swept += 1
    return swept


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
