"""What a message refers to in oltp: checked before it is written, and forgotten when a referent appears or goes.

oltp is another database than content, so no constraint can hold this. A built release carries its own copy of the
modules of `rollout.references` that are used here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rollout.references.cache import Reference
from rollout.references.listen import listen
from rollout.references.validator import Connect, Outcome, Validator, record

COLUMNS = {"campaign_id": "campaign", "lead_id": "lead", "email_account_id": "email_account"}
FORGET_SECONDS = 1.0
STOP_SECONDS = 1.0
log = logging.getLogger("service.references")


class InvalidReferences(Exception):
    """A message names what its tenant does not have; `details` says which columns."""

    def __init__(self, details: list[str]) -> None:
        super().__init__("; ".join(details))
        self.details = details


class References:
    """The validator of one process, over the pool of oltp and Redis, and the task that keeps its cache current."""

    def __init__(self, connect: Connect, redis: Redis, conninfo: str) -> None:
        """`conninfo` leads to oltp directly: LISTEN does not work through a transaction pooler."""
        self._validator = Validator(connect, redis)
        self._conninfo = conninfo

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        """Forget what oltp announces, until the block ends; the end takes at most 1 s."""
        task = asyncio.create_task(listen(self._validator, self._conninfo))
        task.add_done_callback(_ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_SECONDS)

    async def check(self, tenant_id: str, given: Mapping[str, Any]) -> dict[Reference, Outcome]:
        """Return the outcome of each reference among the columns that are given, `valid` or `unknown`.

        Raise InvalidReferences when one is `invalid`. Takes at most 3 s, whatever is away.
        """
        named = {name: kind for name, kind in COLUMNS.items() if given.get(name) is not None}
        if not named:
            return {}
        outcomes = await self._validator.check_many((kind, str(given[name]), tenant_id) for name, kind in named.items())
        invalid = {reference.kind for reference, outcome in outcomes.items() if outcome is Outcome.INVALID}
        if invalid:
            raise InvalidReferences(
                [f"{name}: no such {kind} for this tenant" for name, kind in named.items() if kind in invalid]
            )
        return outcomes

    async def record(
        self, connection: psycopg.AsyncConnection[Any], key: str, outcomes: Mapping[Reference, Outcome]
    ) -> None:
        """Record the `unknown` ones of a message in its own transaction, where 001 has made the table for it."""
        if Outcome.UNKNOWN not in outcomes.values():
            return
        try:
            # A savepoint: a table or a grant that is missing must not cost the message.
            async with connection.transaction():
                await record(connection, "email_messages", key, outcomes)
        except psycopg.ProgrammingError as error:
            log.warning("a write with unknown references is not recorded: %s", type(error).__name__)

    async def forget(self, references: Iterable[tuple[str, str, str]]) -> None:
        """Drop what is cached of each (kind, id, tenant) that was just created; without Redis the listener does."""
        try:
            async with asyncio.timeout(FORGET_SECONDS):
                await self._validator.forget_many(references)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("cached outcomes not dropped: %s", type(error).__name__)


def _ended(task: asyncio.Task[None]) -> None:
    """Say why the listener ended when nobody asked it to; outcomes then change after their time to live only."""
    if not task.cancelled() and (error := task.exception()):
        log.error("validator hears of no changes any more: %s", type(error).__name__)
