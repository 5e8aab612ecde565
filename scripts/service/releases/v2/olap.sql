-- Analytics after olap optimisation: billing is partitioned by period, the campaign dashboard reads the materialised view.

-- name: add_billing_counters
INSERT INTO billing_analytics (tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used,
                               leads_used, warmups_active, period_start, period_end)
VALUES (%(tenant_id)s, %(subscription_id)s, %(emails_sent)s::int, 0, 0, %(campaigns_used)s::int, %(leads_used)s::int, 0,
        %(period_start)s::timestamptz, %(period_end)s::timestamptz)
ON CONFLICT (tenant_id, period_start, period_end) DO UPDATE
SET emails_sent = coalesce(billing_analytics.emails_sent, 0) + excluded.emails_sent,
    campaigns_used = coalesce(billing_analytics.campaigns_used, 0) + excluded.campaigns_used,
    leads_used = coalesce(billing_analytics.leads_used, 0) + excluded.leads_used,
    updated_at = now()
RETURNING id;

-- name: campaign_dashboard
-- The view is as old as its last refresh: a campaign that it does not know yet is shown with its counters alone.
SELECT a.campaign_id, p.campaign_name, coalesce(p.campaign_status, a.status) AS status, p.sent, p.delivered,
       p.opened_tracked, p.clicked_tracked, p.replied, p.delivery_rate, p.open_rate, p.click_rate, p.updated_at
FROM campaign_analytics AS a
LEFT JOIN campaign_performance_mv AS p ON p.campaign_id = a.campaign_id
WHERE a.company_id = %(company_id)s
ORDER BY p.sent DESC NULLS LAST, a.campaign_id LIMIT 100;

-- name: billing_dashboard
SELECT id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
       warmups_active, period_start, period_end, updated_at AS updated
FROM billing_analytics WHERE tenant_id = %(tenant_id)s ORDER BY period_start DESC LIMIT 24;
