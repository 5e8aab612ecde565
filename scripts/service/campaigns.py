"""Campaigns and their leads, on oltp."""

from __future__ import annotations

import logging

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.requests import Fields, answer, fields, identifier, stores_of
from service.stores import Stores

log = logging.getLogger("service.campaigns")


async def create(request: Request) -> Response:
    """POST /campaigns: a campaign and its leads, in one transaction. Answer 201 with their ids."""
    given = await fields(request, "tenant_id", "name")
    tenant_id = identifier(given["tenant_id"])
    campaign: Fields = {
        "id": identifier(given.get("id")),
        "tenant_id": tenant_id,
        "company_id": given.get("company_id"),
        "name": given["name"],
        "description": given.get("description"),
        "status": given.get("status", "draft"),
    }
    leads = [
        {
            "id": identifier(lead.get("id")),
            "email": lead["email"],
            "name": lead.get("name"),
            "company": lead.get("company"),
        }
        for lead in given.get("leads", [])
    ]
    stores = stores_of(request)
    async with stores.transaction("oltp", tenant_id) as connection:
        await stores.run(connection, "oltp", "create_campaign", campaign)
        if leads:
            await stores.run(connection, "oltp", "create_leads", {"tenant_id": tenant_id, "leads": Jsonb(leads)})
    return answer({"id": campaign["id"], "leads": [lead["id"] for lead in leads]}, 201)


async def check_references(stores: Stores, tenant_id: str, message: Fields) -> None:
    """Raise 422 when a campaign or lead that a message names does not exist for its tenant.

    oltp is another database than content, so no constraint can hold this. While oltp is away the message is let
    through: recording mail matters more, and the scan for orphans finds what slipped.
    """
    values = {"campaign_id": message["campaign_id"], "lead_id": message["lead_id"]}
    if not any(values.values()):
        return
    try:
        async with stores.transaction("oltp", tenant_id) as connection:
            missing = await stores.rows(connection, "oltp", "missing_references", values)
    except (psycopg.OperationalError, PoolTimeout) as error:
        log.warning("references not checked, oltp is away: %s", type(error).__name__)
        return
    if missing:
        raise HTTPException(422, f"no such {', '.join(row['column_name'] for row in missing)} for this tenant")
