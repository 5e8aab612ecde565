-- One range of ids (or the ids in keys), both relations, one snapshot. It reads the same before and after the swap, because
-- rollout.billing_analytics_old follows the old table.
WITH page AS (
    (
        SELECT id FROM rollout.billing_analytics_old
        WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint) AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::bigint[]))
        ORDER BY id LIMIT %(limit)s::bigint
    )
    UNION
    (
        SELECT id FROM v2.billing_analytics
        WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint) AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::bigint[]))
        ORDER BY id LIMIT %(limit)s::bigint
    )
    ORDER BY id
    LIMIT %(limit)s::bigint
),

bounds AS (SELECT max(id) AS last FROM page),

pairs AS (
    SELECT coalesce(o.id, n.id) AS id, o IS DISTINCT FROM n AS differs
    FROM (
        SELECT * FROM rollout.billing_analytics_old
        WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint) AND id <= (SELECT last FROM bounds)
            AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::bigint[]))
    ) AS o
    FULL JOIN (
        SELECT
            id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used,
            warmups_active, period_start, period_end, updated_at
        FROM v2.billing_analytics
        WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint) AND id <= (SELECT last FROM bounds)
            AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::bigint[]))
    ) AS n ON n.id = o.id
)

SELECT
    (SELECT last::text FROM bounds) AS last_key,
    count(*) AS rows_compared,
    coalesce((array_agg(id::text ORDER BY id) FILTER (WHERE differs))[1:20], '{}') AS differing_keys
FROM pairs;
