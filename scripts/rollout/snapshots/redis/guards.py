"""What has to be so before a server is written into: each answer a refusal that says what to do instead."""

from __future__ import annotations

from rollout import environment
from rollout.errors import Refused
from rollout.snapshots.records import RedisSnapshot
from rollout.snapshots.redis import compat, layout
from rollout.snapshots.redis.client import Server
from rollout.snapshots.redis.copies import written_by


def require_readable(snapshot: RedisSnapshot, target: environment.Redis, about: Server) -> None:
    """Raise Refused when a server does not read a snapshot, or follows another one."""
    compat.require_reads(written_by(snapshot), target.host, about.product, about.version)
    require_primary(target, about)


def require_primary(target: environment.Redis, about: Server) -> None:
    """Raise Refused when a server is a replica: what is written there goes with the next word of its primary."""
    if about.replica:
        raise Refused(
            f"{target.host} is a replica",
            limit="a primary",
            next="name its primary; when that was a helper of an act that was killed: snapshots.release_redis(target)",
            page="runbooks/restore.md",
        )


def require_not_live(target: environment.Redis) -> None:
    """Raise Refused for a live server: restores go to others."""
    if target.host_set != "staging":
        raise Refused(
            f"{target.host} is of the host set {target.host_set!r}",
            limit="restores go to staging, never over a live server",
            next="name the staging host, or ask for swap_in or merge by name",
            page="runbooks/restore.md",
        )


def require_not_cluster(target: environment.Redis, about: Server) -> None:
    """Raise Refused for a cluster's node, which follows nobody by our word."""
    if about.cluster:
        raise Refused(
            f"{target.host} is a node of a cluster",
            limit="a server of its own",
            next="restore into a fresh cluster (restore_cluster), and lead the application there",
            page="runbooks/restore.md",
        )


def require_target(snapshot: RedisSnapshot, target: environment.Redis, about: Server) -> None:
    """Raise Refused for a live server, and for the one that a snapshot was taken from."""
    require_not_live(target)
    if about.run_id == snapshot.run_id or (target.address, target.port) == (snapshot.address, snapshot.port):
        raise Refused(
            f"{target.host} is the server that the snapshot was taken from",
            limit="a server of its own",
            next=f"correct the address of {target.host} in the inventory",
            page="runbooks/restore.md",
        )


def require_slots(snapshot: RedisSnapshot, target: environment.Redis) -> None:
    """Raise Refused for a cluster's node that does not serve the slots of a snapshot."""
    found = layout.slots_of(target)
    if not snapshot.slots or layout.positions(found) != layout.positions(snapshot.slots):
        raise Refused(
            f"{target.host} serves {layout.shown(found)}",
            limit=f"the snapshot's {layout.shown(snapshot.slots)}",
            next="restore the whole cluster's snapshots the logical way (restore_cluster), which asks for no layout",
            page="runbooks/restore.md",
        )
