"""The HTTP face of the application: routes, health, and what a failure looks like from outside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import redis.exceptions
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import analytics, campaigns, jobs, messages
from service.references import InvalidReferences
from service.requests import answer, stores_of
from service.stores import Stores

log = logging.getLogger("service.app")


class Signature:
    """Signs every response with release and colour; while draining, asks clients to take their next request
    elsewhere.
    """

    def __init__(self, app: ASGIApp, stores: Stores) -> None:
        self._app = app
        self._stores = stores
        self._headers = [(b"x-release", stores.release.version.encode()), (b"x-colour", stores.colour.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""

        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                leave = [(b"connection", b"close")] if self._stores.draining else []
                message["headers"] = [*message.get("headers", []), *self._headers, *leave]
            await send(message)

        await self._app(scope, receive, signed if scope["type"] == "http" else send)


async def health(request: Request) -> Response:
    """GET /health: 200 while this process takes requests, 503 once it is about to leave; asks no database."""
    draining = stores_of(request).draining
    return answer({"status": "draining" if draining else "ok"}, 503 if draining else 200)


async def version(request: Request) -> Response:
    """GET /version: which release this is, from which build, in which colour, and where it listens."""
    stores = stores_of(request)
    return answer(
        {
            "release": stores.release.version,
            "digest": stores.release.sha256,
            "colour": stores.colour,
            "host": request.app.state.host,
        }
    )


async def ready(request: Request) -> Response:
    """GET /ready: 200 when all pools and Redis answer, else 503 with the ones that do not."""
    stores = stores_of(request)
    found: dict[str, str] = {}
    for pool in stores.pools:
        try:
            async with stores.transaction(pool) as connection:
                await connection.execute("SELECT 1")
            found[pool] = "ok"
        except (psycopg.Error, OSError) as error:  # PoolTimeout is a psycopg.OperationalError
            found[pool] = type(error).__name__
    try:
        await stores.redis.ping()
        found["redis"] = "ok"
    except (redis.exceptions.RedisError, OSError) as error:
        found["redis"] = type(error).__name__
    return answer(found, 200 if set(found.values()) == {"ok"} else 503)


async def refused(_request: Request, error: Exception) -> Response:
    """Answer an HTTPException as JSON."""
    assert isinstance(error, HTTPException)
    return answer({"error": error.detail}, error.status_code)


async def invalid(_request: Request, error: InvalidReferences) -> Response:
    """Answer 400 and say which references are wrong."""
    return answer({"error": "invalid references", "details": error.details}, 400)


async def conflict(_request: Request, error: Exception) -> Response:
    """Answer 409 for a key that is taken, 422 for what the database does not accept."""
    taken = isinstance(error, psycopg.errors.UniqueViolation)
    return answer({"error": type(error).__name__}, 409 if taken else 422)


async def failed(request: Request, error: Exception) -> Response:
    """Answer 500 with the kind of failure, and the SQLSTATE when the database gave one; no values leave the process."""
    state = getattr(error, "sqlstate", None)
    log.error("%s %s failed: %s %s", request.method, request.url.path, type(error).__name__, state or "")
    return answer({"error": type(error).__name__, "sqlstate": state, "detail": _primary(error)}, 500)


def _primary(error: Exception) -> str | None:
    """Return the server's own first line, which holds names and no values."""
    return error.diag.message_primary if isinstance(error, psycopg.Error) else None


ROUTES = [
    Route("/campaigns", campaigns.create, methods=["POST"]),
    Route("/messages", messages.record, methods=["POST"]),
    Route("/messages/{key:path}/replies", messages.reply, methods=["POST"]),
    Route("/messages/{key:path}/thread", messages.thread, methods=["GET"]),
    Route("/messages/{key:path}", messages.set_status, methods=["PATCH"]),
    Route("/messages/{key:path}", messages.read, methods=["GET"]),
    Route("/jobs", jobs.enqueue, methods=["POST"]),
    Route("/jobs/work", jobs.work, methods=["POST"]),
    Route("/queue/move", jobs.move, methods=["POST"]),
    Route("/analytics", analytics.record, methods=["POST"]),
    Route("/dashboards/campaigns", analytics.campaigns, methods=["GET"]),
    Route("/dashboards/billing", analytics.billing, methods=["GET"]),
    Route("/health", health, methods=["GET"]),
    Route("/version", version, methods=["GET"]),
    Route("/ready", ready, methods=["GET"]),
]


def create(stores: Stores, host: str) -> ASGIApp:
    """Build the application over its stores; `host` is how this process is told from the others."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stores.open()
            stack.push_async_callback(stores.close)
            if stores.references:
                await stack.enter_async_context(stores.references.kept_current())
            yield

    handlers: dict[Any, Any] = {
        HTTPException: refused,
        InvalidReferences: invalid,
        psycopg.errors.IntegrityError: conflict,
        psycopg.errors.DataError: conflict,
        psycopg.Error: failed,
        Exception: failed,
    }
    app = Starlette(routes=ROUTES, lifespan=lifespan, exception_handlers=handlers)
    app.state.stores = stores
    app.state.host = host
    return Signature(app, stores)
