-- One chunk. Whoever wrote the shadow's row first (the trigger) has the newer values, so a conflict leaves it alone.
WITH page AS MATERIALIZED (
    SELECT
        id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
        warmups_active, period_start, period_end, updated
    FROM public.billing_analytics
    WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint)
    ORDER BY id
    LIMIT %(limit)s::bigint
    FOR KEY SHARE
),

copied AS (
    INSERT INTO v2.billing_analytics (
        id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
        warmups_active, period_start, period_end, updated_at
    )
    SELECT * FROM page
    ON CONFLICT DO NOTHING
)

SELECT max(id)::text AS last_key, count(*) AS rows_copied FROM page;
