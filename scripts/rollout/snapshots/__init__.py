"""Snapshots: all databases and Redis of an environment at one instant each, in the object store, restored and
compared."""

from rollout.snapshots.database import compare_database, take_database
from rollout.snapshots.database_restore import restore_database
from rollout.snapshots.manifest import commit, latest, load, new_prefix, require_same_clock, unfinished
from rollout.snapshots.queue_consistency import check_queue, reconcile_queue
from rollout.snapshots.records import (
    Comparison,
    DatabaseSnapshot,
    Exchanged,
    Manifest,
    Merged,
    Progress,
    QueueConsistency,
    RedisSnapshot,
    Restored,
    StoredObject,
    Swapped,
)
from rollout.snapshots.redis.beside import differences as beside_differences
from rollout.snapshots.redis.beside import restore as restore_beside
from rollout.snapshots.redis.cluster import compare_cluster, restore_cluster, take_cluster
from rollout.snapshots.redis.exchanging import discard as discard_aside_redis
from rollout.snapshots.redis.exchanging import exchange as exchange_redis
from rollout.snapshots.redis.exchanging import take_back as take_back_redis
from rollout.snapshots.redis.marker import has_marker
from rollout.snapshots.redis.merging import merge as merge_redis
from rollout.snapshots.redis.merging import undo_merge as undo_merge_redis
from rollout.snapshots.redis.restoring import compare_redis, prove_redis, restore_redis
from rollout.snapshots.redis.swapping import release_redis
from rollout.snapshots.redis.swapping import swap_in as swap_in_redis
from rollout.snapshots.redis.taking import take_redis
from rollout.snapshots.taking import marker_name, options

__all__ = [
    "Comparison",
    "DatabaseSnapshot",
    "Exchanged",
    "Manifest",
    "Merged",
    "Progress",
    "QueueConsistency",
    "RedisSnapshot",
    "Restored",
    "StoredObject",
    "Swapped",
    "beside_differences",
    "check_queue",
    "commit",
    "compare_cluster",
    "compare_database",
    "compare_redis",
    "discard_aside_redis",
    "exchange_redis",
    "has_marker",
    "latest",
    "load",
    "marker_name",
    "merge_redis",
    "new_prefix",
    "options",
    "prove_redis",
    "reconcile_queue",
    "release_redis",
    "require_same_clock",
    "restore_beside",
    "restore_cluster",
    "restore_database",
    "restore_redis",
    "swap_in_redis",
    "take_back_redis",
    "take_cluster",
    "take_database",
    "take_redis",
    "undo_merge_redis",
    "unfinished",
]
