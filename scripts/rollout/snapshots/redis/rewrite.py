"""The content of a helper as plain commands, which its own server writes: what is left when a target does not read
payloads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from rollout.errors import Failed
from rollout.snapshots.redis.helper import Helper
from rollout.snapshots.redis.stream import Words, decode

REWRITE_SECONDS = 600.0
POLL_SECONDS = 0.05


def rewritten(source: Helper) -> Iterator[Words]:
    """Yield the helper's content as the commands that its own server writes into an append-only file: plain ones, which
    every product and version has. Raise Failed when it does not get written."""
    client = source.client
    client.config_set("appendonly", "yes")
    try:
        deadline = time.monotonic() + REWRITE_SECONDS
        while True:
            info: dict[str, Any] = client.info("persistence")
            if not (info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled")):
                break
            if time.monotonic() > deadline:
                raise Failed("the helper did not write its content", limit=f"{REWRITE_SECONDS:.0f} s", next="try again")
            time.sleep(POLL_SECONDS)
        if info["aof_last_bgrewrite_status"] != "ok":
            raise Failed(f"the helper could not write its content: {source.log()[-300:]}", next="free some disk")
        written = sorted((source.folder / "appendonlydir").glob("*.base.aof")) or [source.folder / "appendonly.aof"]
        with open(written[-1], "rb") as file:
            yield from decode(file)
    finally:
        client.config_set("appendonly", "no")


def replacing(commands: Iterable[Words], *, functions: bool, modern: bool) -> Iterator[Words]:
    """Yield a rewrite's commands so that each key begins anew: unlinked first. Without `functions` libraries are left
    out; unless `modern` (7.0), so is what streams count since then."""
    last: bytes | None = None
    for words in commands:
        kind = words[0].upper()
        if kind == b"FUNCTION":
            if functions:
                yield [b"FUNCTION", b"LOAD", b"REPLACE", words[-1]]
            continue
        if kind == b"SELECT":
            last = None
            yield words
            continue
        key = words[2] if kind == b"XGROUP" else words[1]
        if key != last:
            yield [b"UNLINK", key]
            last = key
        yield words if modern else _without_counts(words)


def _without_counts(words: Words) -> Words:
    """Return a stream's command as Redis 6 knows it."""
    if words[0].upper() == b"XSETID":
        return words[:3]
    return words[: words.index(b"ENTRIESREAD")] if b"ENTRIESREAD" in words[5:6] else words
