"""Messages in both directions, on content: recorded, updated, threaded, read with content and attachments."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from psycopg.types.json import Jsonb
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.references import COLUMNS
from service.requests import Fields, actor, answer, fields, identifier, queried, stores_of
from service.stores import Connection, Row, Stores

_COLUMNS = (
    "storage_key",
    "tenant_id",
    "email_account_id",
    "campaign_id",
    "lead_id",
    "parent_message_id",
    "direction",
    "message_type",
    "from_email",
    "to_email",
    "subject",
    "status",
    "processed",
    "created",
    "updated",
)
_CONTENT = ("content_text", "content_html", "headers", "raw_size_bytes", "content_hash")
_OPPOSITE = {"inbound": "outbound", "outbound": "inbound"}
_FIRST_STATUS = {"inbound": "delivered", "outbound": "queued"}


async def record(request: Request) -> Response:
    """POST /messages: content first, then the message and its attachments, in one transaction. Answer 201.

    Answer 400 when the message refers to what its tenant does not have; see references.py for what cannot be known.
    """
    given = await fields(request, "tenant_id", "direction")
    message = _message(given)
    stores = stores_of(request)
    outcomes = await stores.references.check(message["tenant_id"], message) if stores.references else {}
    async with stores.transaction("content", actor(request, message["tenant_id"])) as connection:
        stored = await _store(stores, connection, message, given)
        if stores.references:
            await stores.references.record(connection, message["storage_key"], outcomes)
    return answer(stored, 201)


async def reply(request: Request) -> Response:
    """POST /messages/{key}/replies: a message in the opposite direction, whose parent is {key}. Answer 201.

    It inherits what its parent refers to, unchecked: that may be an orphan of long ago, and mail is recorded all the
    same. What the request itself refers to takes its place, where a release checks references.
    """
    given = await fields(request)
    stores, acting = stores_of(request), actor(request, given.get("tenant_id"))
    async with stores.transaction("content", acting) as connection:
        parent = await stores.first(connection, "content", "read_message", _key(request))
        if parent is None:
            raise HTTPException(404, "no such message")
    own = {name: given[name] for name in COLUMNS if given.get(name) is not None} if stores.references else {}
    inherited = {name: parent[name] for name in ("tenant_id", *COLUMNS)}
    message = _message(
        {
            **{name: str(value) if value is not None else None for name, value in inherited.items()},
            **own,
            "from_email": parent["to_email"],
            "to_email": parent["from_email"],
            "subject": given.get("subject", f"Re: {parent['subject']}"[:500]),
            "storage_key": given.get("storage_key"),
            "parent_message_id": parent["storage_key"],
            "direction": _OPPOSITE[parent["direction"]],
        }
    )
    # Between two transactions: while oltp is asked, no locks are held on content.
    outcomes = await stores.references.check(message["tenant_id"], own) if stores.references else {}
    async with stores.transaction("content", acting) as connection:
        stored = await _store(stores, connection, message, given)
        if stores.references:
            await stores.references.record(connection, message["storage_key"], outcomes)
    return answer(stored, 201)


async def set_status(request: Request) -> Response:
    """PATCH /messages/{key}: a new status of a tenant's message, wherever the message lives. Answer 200, or 404."""
    given = await fields(request, "status")
    stores = stores_of(request)
    async with stores.transaction("content", actor(request, given.get("tenant_id"))) as connection:
        values = {**_key(request), "status": given["status"]}
        updated = await stores.first(connection, "content", "set_status", values)
    if updated is None:
        raise HTTPException(404, "no such message")
    return answer(updated)


async def read(request: Request) -> Response:
    """GET /messages/{key}?tenant_id=: the message, its content and its attachments (content as base64). Answer 200, or 404."""
    stores = stores_of(request)
    key = _key(request)
    async with stores.transaction("content", queried(request)) as connection:
        message = await stores.first(connection, "content", "read_message", key)
        if message is None:
            raise HTTPException(404, "no such message")
        content = await stores.first(connection, "content", "read_content", key)
        attachments = await stores.rows(connection, "content", "read_attachments", key)
    return answer(
        {
            **{name: message[name] for name in _COLUMNS},
            "content": {name: content[name] for name in _CONTENT} if content else None,
            "attachments": [{**a, "content": base64.b64encode(a["content"]).decode()} for a in attachments],
        }
    )


async def thread(request: Request) -> Response:
    """GET /messages/{key}/thread?tenant_id=: the thread's messages, the first one first (at most 200, 20 deep). Answer 200, or
    404.
    """
    stores = stores_of(request)
    async with stores.transaction("content", queried(request)) as connection:
        found = await stores.rows(connection, "content", "read_thread", _key(request))
    if not found:
        raise HTTPException(404, "no such message")
    return answer({"messages": found})


def _key(request: Request) -> Row:
    return {"storage_key": request.path_params["key"]}


def _message(given: Fields) -> Fields:
    direction = given["direction"]
    if direction not in _OPPOSITE:
        raise HTTPException(400, f"direction is inbound or outbound, not {direction!r}")
    optional = ("email_account_id", "campaign_id", "lead_id", "parent_message_id", "from_email", "to_email", "subject")
    return {
        **{name: given.get(name) for name in optional},
        "storage_key": given.get("storage_key") or f"messages/{identifier()}",
        "tenant_id": identifier(given["tenant_id"]),
        "direction": direction,
        "message_type": given.get("message_type", "email"),
        "status": given.get("status", _FIRST_STATUS[direction]),
    }


async def _store(stores: Stores, connection: Connection, message: Fields, given: Fields) -> Row:
    """Write content, message and attachments in that order; raise 409 when the message is there already."""
    text = given.get("content_text") or ""
    content: dict[str, Any] = {
        "storage_key": message["storage_key"],
        "tenant_id": message["tenant_id"],
        "content_text": text,
        "content_html": given.get("content_html"),
        "headers": Jsonb(given.get("headers", {})),
        "raw_size_bytes": len(text.encode()),
        "content_hash": hashlib.sha256(text.encode()).hexdigest(),
    }
    attachments = given.get("attachments", [])
    await stores.run(connection, "content", "store_content", content)
    if attachments:
        await stores.run(connection, "content", "store_content_object", content)
    stored = await stores.first(connection, "content", f"record_{message['direction']}", message)
    if stored is None:
        raise HTTPException(409, "the message is recorded already")
    for attachment in attachments:
        data = base64.b64decode(attachment["content"])
        await stores.run(
            connection,
            "content",
            "store_attachment",
            {
                "id": identifier(attachment.get("id")),
                "storage_key": message["storage_key"],
                "filename": attachment["filename"],
                "mime_type": attachment.get("mime_type"),
                "size_bytes": len(data),
                "content": data,
                "content_hash": hashlib.sha256(data).hexdigest(),
            },
        )
    return {**stored, "direction": message["direction"], "status": message["status"]}
