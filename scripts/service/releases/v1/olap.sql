-- Analytics as found.

-- name: add_billing_counters
INSERT INTO billing_analytics (tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used,
                               leads_used, warmups_active, period_start, period_end)
VALUES (%(tenant_id)s, %(subscription_id)s, %(emails_sent)s::int, 0, 0, %(campaigns_used)s::int, %(leads_used)s::int, 0,
        %(period_start)s::timestamptz, %(period_end)s::timestamptz)
ON CONFLICT (tenant_id, period_start, period_end) DO UPDATE
SET emails_sent = coalesce(billing_analytics.emails_sent, 0) + excluded.emails_sent,
    campaigns_used = coalesce(billing_analytics.campaigns_used, 0) + excluded.campaigns_used,
    leads_used = coalesce(billing_analytics.leads_used, 0) + excluded.leads_used,
    updated = now()
RETURNING id;

-- name: campaign_dashboard
SELECT campaign_id, sent, delivered, opened_tracked, clicked_tracked, replied, bounced, status
FROM campaign_analytics WHERE company_id = %(company_id)s
ORDER BY sent DESC NULLS LAST, campaign_id LIMIT 100;

-- name: billing_dashboard
SELECT * FROM billing_analytics WHERE tenant_id = %(tenant_id)s ORDER BY period_start DESC LIMIT 24;
