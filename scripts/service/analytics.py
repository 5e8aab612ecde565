"""Counters and dashboards, on olap, where the ids of other tiers are text."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service.requests import Fields, actor, answer, fields, parameter, queried, stores_of

_CAMPAIGN = ("sent", "delivered", "opened_tracked", "clicked_tracked", "replied", "bounced")
_BILLING = ("emails_sent", "campaigns_used", "leads_used")


async def record(request: Request) -> Response:
    """POST /analytics: add to a tenant's billing period and a campaign's counters, in one transaction. Answer 200."""
    given = await fields(request, "tenant_id", "campaign_id", "company_id", "period_start", "period_end")
    values: Fields = {
        **{name: given[name] for name in ("tenant_id", "campaign_id", "company_id", "period_start", "period_end")},
        "subscription_id": given.get("subscription_id", ""),
        **{name: int(given.get(name, 0)) for name in (*_CAMPAIGN, *_BILLING)},
    }
    stores = stores_of(request)
    async with stores.transaction("olap", actor(request, given["tenant_id"])) as connection:
        billing = await stores.first(connection, "olap", "add_billing_counters", values)
        values["billing_id"] = billing["id"] if billing else None
        await stores.first(connection, "olap", "lock_campaign", values)
        if await stores.run(connection, "olap", "add_campaign_counters", values) == 0:
            await stores.run(connection, "olap", "start_campaign_counters", values)
    return answer({"billing_id": values["billing_id"]})


async def campaigns(request: Request) -> Response:
    """GET /dashboards/campaigns?company_id=&tenant_id=: the company's campaigns and their counters (at most 100)."""
    stores = stores_of(request)
    async with stores.transaction("olap", queried(request)) as connection:
        values = {"company_id": parameter(request, "company_id")}
        return answer({"campaigns": await stores.rows(connection, "olap", "campaign_dashboard", values)})


async def billing(request: Request) -> Response:
    """GET /dashboards/billing?tenant_id=: the tenant's latest 24 periods."""
    stores = stores_of(request)
    async with stores.transaction("olap", queried(request)) as connection:
        values = {"tenant_id": parameter(request, "tenant_id")}
        return answer({"periods": await stores.rows(connection, "olap", "billing_dashboard", values)})
