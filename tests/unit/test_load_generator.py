"""The generator: open-loop, counted from the schedule, nothing sent twice, everything journaled."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from rollout.load import journal
from rollout.load.generator import Generator, Plan
from rollout.load.mix import Mix
from rollout.load.targets import Company, Message, Targets


async def against(handler: Any, folder: Path, plan: Plan) -> dict[str, Any]:
    """Run a plan against a server of our own; return the summary."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    book = journal.Journal(folder)
    known = Targets(
        [Company("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002")],
        deque(),
        [Message("t", "m")],
    )
    plan = Plan(f"http://127.0.0.1:{port}", plan.rate, plan.seconds, plan.deadline_seconds)
    try:
        return await Generator(plan, Mix(1, "n", known, book), book, folder).run()
    finally:
        await runner.cleanup()


def test_a_stall_is_seen_by_every_request_that_was_due(tmp_path: Path) -> None:
    """While the service stands still arrivals go on, and their latency counts from when they were due."""
    started = 0.0

    async def stalls(_request: web.Request) -> web.Response:
        nonlocal started
        now = asyncio.get_running_loop().time()
        started = started or now
        await asyncio.sleep(max(0.0, 0.5 - (now - started)))
        return web.json_response({"error": "no"}, status=500)

    summary = asyncio.run(against(stalls, tmp_path, Plan("", 50, 1.0)))
    assert summary["requests"] == 50
    assert summary["max_ms"] >= 480
    assert summary["p90_ms"] >= 350


def test_failures_are_counted_kept_and_never_sent_again(tmp_path: Path) -> None:
    """A connection that is cut counts once as failed, and the server saw no second try."""
    seen = 0

    async def cuts(request: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        if seen % 2 == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({})

    summary = asyncio.run(against(cuts, tmp_path, Plan("", 100, 1.0)))
    assert seen == summary["requests"] == 100
    assert summary["failed"] >= 50
    failures = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert len(failures) == 50
    assert any("ServerDisconnected" in failure["why"] or "ClientOSError" in failure["why"] for failure in failures)


def test_an_answer_after_the_deadline_is_a_failure(tmp_path: Path) -> None:
    """A request that is not answered in time is failed, and its write is journaled as one that may be there."""

    async def sleeps(_request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.json_response({})

    summary = asyncio.run(against(sleeps, tmp_path, Plan("", 30, 0.5, deadline_seconds=0.2)))
    assert (summary["requests"], summary["failed"], summary["acknowledged_writes"]) == (15, 15, 0)
    phases = {line["phase"] for line in journal.read(tmp_path)}
    assert "ack" not in phases and "missed" in phases


def test_aiohttp_still_has_the_switch_for_its_second_try() -> None:
    """The private attribute that forbids aiohttp's own retries exists in the locked version, and is true by default."""

    async def default() -> bool:
        async with aiohttp.ClientSession() as session:
            return bool(session._retry_connection)

    assert asyncio.run(default())


def test_the_same_seed_does_the_same_with_other_ids(tmp_path: Path) -> None:
    """Two runs of one seed make the same sequence of operations, and share no id."""
    made = []
    for nonce in ("a", "b"):
        (tmp_path / nonce).mkdir()
        known = Targets([Company("t", "c")], deque(), [Message("t", "m")])
        mix = Mix(1, nonce, known, journal.Journal(tmp_path / nonce))
        made.append([mix.next() for _ in range(200)])
    assert [o.name for o in made[0]] == [o.name for o in made[1]]
    ids = [{o.body["id"] for o in run if o.body and "id" in o.body} for run in made]
    assert ids[0] and not ids[0] & ids[1]
