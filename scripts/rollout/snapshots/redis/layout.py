"""Which slots of a cluster which master serves."""

from __future__ import annotations

from typing import Any, cast

import redis

from rollout import environment
from rollout.errors import Refused
from rollout.snapshots.records import Slots
from rollout.snapshots.redis.client import command, connect

ALL_SLOTS = 16384
Master = tuple[environment.Redis, list[Slots]]


def masters(server: environment.Redis) -> list[Master]:
    """Return the masters of the cluster that a server belongs to, each with its slots, in the order of the slots.

    Raise Refused when the server is no cluster's node, or slots have no master.
    """
    with connect(server) as client:
        try:
            answer = command(client, "CLUSTER", "SLOTS")
        except redis.ResponseError as error:
            raise Refused(
                f"{server.host}: {error}", limit="a node of a cluster", next="take it with take_redis"
            ) from None
    found: dict[tuple[str, int], list[Slots]] = {}
    for first, last, master, *_ in _spans(answer):
        found.setdefault(master, []).append(Slots(first=first, last=last))
    covered = sum(one.last - one.first + 1 for spans in found.values() for one in spans)
    if covered != ALL_SLOTS:
        raise Refused(
            f"{covered:,} slots of the cluster of {server.host} have a master",
            limit=f"{ALL_SLOTS:,}",
            next="mend the cluster",
        )
    return [
        (
            server.model_copy(
                update={"host": f"{server.host}-{n}", "address": address or server.address, "port": port}
            ),
            spans,
        )
        for n, ((address, port), spans) in enumerate(sorted(found.items(), key=lambda item: item[1][0].first), 1)
    ]


def slots_of(node: environment.Redis) -> list[Slots]:
    """Return the slots that a node serves; none of a replica."""
    with connect(node) as client:
        me = cast(bytes, command(client, "CLUSTER", "MYID"))
        answer = command(client, "CLUSTER", "SLOTS")
    return [Slots(first=span[0], last=span[1]) for span in answer if span[2][2] == me]


def positions(slots: list[Slots]) -> set[int]:
    """Return the slots one by one."""
    return {slot for span in slots for slot in range(span.first, span.last + 1)}


def shown(slots: list[Slots]) -> str:
    """Return slots for people."""
    return f"slots {', '.join(f'{s.first}-{s.last}' for s in slots)}" if slots else "no slots"


def _spans(answer: Any) -> list[tuple[int, int, tuple[str, int]]]:
    return sorted(
        (first, last, (bytes(master[0] or b"").decode(), int(master[1]))) for first, last, master, *_ in answer
    )
