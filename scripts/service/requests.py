"""What every endpoint does with a request and an answer: read JSON, insist on fields, write JSON."""

from __future__ import annotations

import ipaddress
import json
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.stores import Actor, Stores

Fields = dict[str, Any]


def stores_of(request: Request) -> Stores:
    """Return the pools of this process."""
    found: Stores = request.app.state.stores
    return found


async def fields(request: Request, *required: str) -> Fields:
    """Read a JSON object from the body; raise 400 when it is none or lacks a required field."""
    try:
        found = json.loads(await request.body())
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is not a JSON object")
    missing = [name for name in required if found.get(name) is None]
    if missing:
        raise HTTPException(400, f"missing: {', '.join(missing)}")
    return found


def parameter(request: Request, name: str) -> str:
    """Return a query parameter; raise 400 when it is absent."""
    value = request.query_params.get(name)
    if not value:
        raise HTTPException(400, f"missing: {name}")
    return value


def identifier(value: str | None = None) -> str:
    """Return a UUID: the given one in its usual form, or a new one; raise 400 when it is none."""
    try:
        return str(uuid.UUID(value)) if value is not None else str(uuid.uuid4())
    except (ValueError, AttributeError, TypeError):
        raise HTTPException(400, f"not a UUID: {value!r}") from None


def actor(request: Request, tenant_id: Any) -> Actor | None:
    """Return in whose name a request is served: the tenant that it names, and what its headers and address tell.

    None when it names no tenant and the release does not insist. Raise 400 when it has to, or names no UUID.
    """
    if tenant_id is None:
        if stores_of(request).release.sets_tenant:
            raise HTTPException(400, "missing: tenant_id")
        return None
    user_id = request.headers.get("x-user-id")
    return Actor(
        tenant_id=identifier(tenant_id),
        user_id=identifier(user_id) if user_id else "",
        session_id=request.headers.get("x-session-id", ""),
        ip_address=_address(request),
        user_agent=request.headers.get("user-agent", ""),
    )


def queried(request: Request) -> Actor | None:
    """Return in whose name a request is served that has its tenant in the query."""
    return actor(request, request.query_params.get("tenant_id"))


def _address(request: Request) -> str:
    """Return the address of the client, as the balancer tells it; empty when it is none."""
    try:
        return str(ipaddress.ip_address(request.client.host)) if request.client else ""
    except ValueError:
        return ""


def answer(content: Any, status: int = 200) -> Response:
    """Return a JSON response; times, UUIDs and decimals become text."""
    return Response(json.dumps(content, default=_plain), status, media_type="application/json")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, Decimal)):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
