"""Heads of the chain in the object store: what a whole rewritten chain in the database would have to agree with.

    audit/<host>/<log>/<number>-<hash>.json

Name and content say the same, so that listing is enough; an object is made once and never replaced, and the bucket's object lock
and versions keep it. `<host>` is the inventory's name of the database, `<log>` the log's own id.
"""

from __future__ import annotations

import contextlib
import json
from typing import NamedTuple
from uuid import UUID

from rollout.audit.chain import Block
from rollout.objectstore import AlreadyExists, ObjectStore


class Head(NamedTuple):
    """The hash that a block had when its head was stored."""

    log: str
    number: int
    hash: str


def put(store: ObjectStore, host: str, log: UUID, block: Block) -> str:
    """Store the head of a chain and return its key; a head that is stored already is left as it is."""
    key = f"{prefix(host)}{log}/{block.number:012d}-{block.hash.hex()}.json"
    said = {
        "host": host, "log": str(log), "number": block.number, "hash": block.hash.hex(), "until_xact": block.until.xact,
        "rows": block.rows, "sealed_at": block.sealed_at.isoformat(),
    }  # fmt: skip
    with contextlib.suppress(AlreadyExists):
        store.create(key, json.dumps(said, sort_keys=True).encode())
    return key


def of(store: ObjectStore, host: str) -> list[Head]:
    """Return every head of a database, in the order of their numbers; what has no head's name is none."""
    found = []
    for key in store.keys(prefix(host)):
        log, _, name = key.removeprefix(prefix(host)).partition("/")
        number, _, digest = name.removesuffix(".json").partition("-")
        if number.isdigit() and len(digest) == 64:
            found.append(Head(log, int(number), digest))
    return sorted(found, key=lambda head: (head.number, head.log, head.hash))


def prefix(host: str) -> str:
    """Return what the keys of a database's heads begin with."""
    return f"audit/{host}/"
