"""The open-loop schedule: arrivals at a constant rate, whatever became of earlier ones, so that stalls cannot hide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

STOP_CHECK_SECONDS = 0.25


async def arrivals(rate: float, seconds: float | None, stopping: asyncio.Event) -> AsyncIterator[tuple[float, float]]:
    """Yield (due, lag) for each arrival until `seconds` (None: for ever) have passed or `stopping` is set.

    `due` is the scheduled instant in the loop's time, from which latency counts; `lag` is how many seconds later we were.
    """
    loop = asyncio.get_running_loop()
    start, number = loop.time(), 0
    while not stopping.is_set():
        offset = number / rate
        if seconds is not None and offset >= seconds:
            return
        due = start + offset
        wait = due - loop.time()
        if wait > 0:
            await asyncio.sleep(min(wait, STOP_CHECK_SECONDS))
            continue
        yield due, loop.time() - due
        number += 1
