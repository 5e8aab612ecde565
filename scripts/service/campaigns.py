"""Campaigns and their leads, on oltp."""

from __future__ import annotations

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import Response

from service.requests import Fields, actor, answer, fields, identifier, stores_of


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
    async with stores.transaction("oltp", actor(request, tenant_id)) as connection:
        await stores.run(connection, "oltp", "create_campaign", campaign)
        if leads:
            await stores.run(connection, "oltp", "create_leads", {"tenant_id": tenant_id, "leads": Jsonb(leads)})
    if stores.references:
        created = [("campaign", campaign["id"], tenant_id), *(("lead", lead["id"], tenant_id) for lead in leads)]
        await stores.references.forget(created)
    return answer({"id": campaign["id"], "leads": [lead["id"] for lead in leads]}, 201)
