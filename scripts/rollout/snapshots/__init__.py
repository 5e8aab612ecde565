"""Snapshots: all databases and Redis of an environment at one instant each, in the object store, restored and
compared."""

from rollout.snapshots.database import compare_database, take_database
from rollout.snapshots.database_restore import restore_database
from rollout.snapshots.manifest import commit, latest, load, new_prefix, unfinished
from rollout.snapshots.records import (
    Comparison,
    DatabaseSnapshot,
    Manifest,
    Progress,
    RedisSnapshot,
    Restored,
    StoredObject,
)
from rollout.snapshots.redis_snapshot import compare_redis, restore_redis, take_redis
from rollout.snapshots.taking import marker_name, options

__all__ = [
    "Comparison",
    "DatabaseSnapshot",
    "Manifest",
    "Progress",
    "RedisSnapshot",
    "Restored",
    "StoredObject",
    "commit",
    "compare_database",
    "compare_redis",
    "latest",
    "load",
    "marker_name",
    "new_prefix",
    "options",
    "restore_database",
    "restore_redis",
    "take_database",
    "take_redis",
    "unfinished",
]
