"""The files for a bucket: what the runner may do covers what the program asks of the store, and never a version's end."""

from __future__ import annotations

import json
import re

from rollout.environment import ROOT

FILES = ROOT / "playbooks" / "files" / "object-store"
LIBRARY = ROOT / "scripts" / "rollout"
# What botocore's calls are called in a policy, where that is not their name.
ACTIONS = {
    "head_object": "GetObject", "head_bucket": "ListBucket", "list_objects_v2": "ListBucket",
    "list_object_versions": "ListBucketVersions",
    "create_multipart_upload": "PutObject", "upload_part": "PutObject", "complete_multipart_upload": "PutObject",
    "list_multipart_uploads": "ListBucketMultipartUploads", "get_object_lock_configuration": "GetBucketObjectLockConfiguration",
}  # fmt: skip
OURS = ("objectstore.py", "transfer.py")


def test_the_runner_may_do_what_the_program_does() -> None:
    """Each call that the program makes of the client has its action allowed; removing a version is denied."""
    statements = json.loads((FILES / "runner-policy.json").read_text())["Statement"]
    said: dict[str, set[str]] = {"Allow": set(), "Deny": set()}
    for one in statements:
        said[one["Effect"]] |= {one["Action"]} if isinstance(one["Action"], str) else set(one["Action"])
    allowed, denied = said["Allow"], said["Deny"]
    calls = {name for file in OURS for name in re.findall(r"client\.([a-z_0-9]+)\(", (LIBRARY / file).read_text())}
    assert {"put_object", "get_object", "upload_part"} <= calls
    wanted = {"s3:" + ACTIONS.get(name, "".join(word.title() for word in name.split("_"))) for name in calls - {"get_paginator"}}
    assert wanted <= allowed
    assert "s3:DeleteObjectVersion" in denied
    assert not allowed & denied


def test_what_was_removed_goes_in_the_end_and_nothing_else_does() -> None:
    """Versions that nobody lists any more expire, unfinished uploads end; no rule expires a current object."""
    rules = json.loads((FILES / "lifecycle.json").read_text())["Rules"]
    assert all(set(rule.get("Expiration", {})) <= {"ExpiredObjectDeleteMarker"} for rule in rules)
    ending = {rule["Filter"]["Prefix"] for rule in rules if "NoncurrentVersionExpiration" in rule}
    assert {"PREFIX/snapshots/", "PREFIX/recovery/"} <= ending
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


def test_the_receivers_unit_runs_a_command_that_exists() -> None:
    """Systemd starts what `invoke` knows."""
    unit = (ROOT / "playbooks" / "files" / "recovery" / "penguin-rollout-log.service").read_text()
    assert "invoke snapshot.receive -e production" in unit
    assert "receive=snapshot.receive" in (ROOT / "tasks.py").read_text()
