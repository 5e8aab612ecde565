-- Statements on olap that both releases share. Billing comes first, then the campaign: one lock order for every writer.

-- name: lock_campaign
-- campaign_analytics has no unique key on campaign_id: two first records of one campaign must not both start a row.
SELECT pg_advisory_xact_lock(hashtextextended(%(campaign_id)s::text, 0));

-- name: add_campaign_counters
UPDATE campaign_analytics
SET sent = coalesce(sent, 0) + %(sent)s::int, delivered = coalesce(delivered, 0) + %(delivered)s::int,
    opened_tracked = coalesce(opened_tracked, 0) + %(opened_tracked)s::int,
    clicked_tracked = coalesce(clicked_tracked, 0) + %(clicked_tracked)s::int,
    replied = coalesce(replied, 0) + %(replied)s::int, bounced = coalesce(bounced, 0) + %(bounced)s::int,
    updated = now()
WHERE campaign_id = %(campaign_id)s
RETURNING campaign_id;

-- name: start_campaign_counters
INSERT INTO campaign_analytics (campaign_id, company_id, sent, delivered, opened_tracked, clicked_tracked, replied, bounced,
                                unsubscribed, spam_complaints, status, completed_leads, billing_id)
VALUES (%(campaign_id)s, %(company_id)s, %(sent)s::int, %(delivered)s::int, %(opened_tracked)s::int,
        %(clicked_tracked)s::int, %(replied)s::int, %(bounced)s::int, 0, 0, 'active', 0, %(billing_id)s::bigint);
