"""Listening for what appears and goes in oltp, so that cached outcomes are dropped at once and not after 300 s."""

from __future__ import annotations

import asyncio
import logging
import random

import psycopg
from psycopg import sql
from redis.exceptions import RedisError

from rollout.references.validator import KINDS, Validator

CHANNEL = "rollout_references"
HEARTBEAT_SECONDS = 15.0
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 10.0
log = logging.getLogger(__name__)


async def listen(validator: Validator, conninfo: str, *, listening: asyncio.Event | None = None) -> None:
    """Drop cached outcomes as oltp announces changes, until cancelled; reconnect with backoff (0.1 to 10 s).

    Needs a direct connection: LISTEN does not work through a transaction pooler. What was announced while nobody
    listened is lost, so every (re)connection begins by flushing all kinds. `listening` is set while it listens.
    """
    backoff = BACKOFF_FIRST_SECONDS
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True, connect_timeout=5
            ) as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                for kind in KINDS:
                    await validator.flush(kind)
                backoff = BACKOFF_FIRST_SECONDS
                if listening:
                    listening.set()
                while True:
                    async for notification in connection.notifies(timeout=HEARTBEAT_SECONDS):
                        await _drop(validator, notification.payload)
                    # Nothing for a while: is the server still there, or was the connection cut without a word?
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await connection.execute("SELECT 1")
        except (psycopg.Error, RedisError, OSError, TimeoutError) as error:
            log.warning("validator hears of no changes, again in %.1f s at most: %s", backoff, type(error).__name__)
        finally:
            if listening:
                listening.clear()
        await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
        backoff = min(BACKOFF_MOST_SECONDS, backoff * 2)


async def _drop(validator: Validator, payload: str) -> None:
    """Drop what `<kind> <tenant> <id>` or `<kind> many` names; a payload of somebody else is not ours to judge."""
    match payload.split(" "):
        case [kind, "many"] if kind in KINDS:
            await validator.flush(kind)
        case [kind, tenant_id, id] if kind in KINDS:
            await validator.forget(kind, id, tenant_id)
        case _:
            log.warning("not a reference: %r", payload[:100])
