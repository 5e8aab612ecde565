-- One chunk: rows written before the trigger existed get the period of their billing row.
WITH page AS MATERIALIZED (
    SELECT id, billing_id
    FROM public.campaign_analytics
    WHERE (%(after)s::bigint IS NULL OR id > %(after)s::bigint) AND billing_id IS NOT NULL AND billing_period_start IS NULL
    ORDER BY id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE
),

filled AS (
    UPDATE public.campaign_analytics AS t
    SET billing_period_start = b.period_start
    FROM page AS p, v2.billing_analytics AS b
    WHERE t.id = p.id AND b.id = p.billing_id
)

SELECT max(id)::text AS last_key, count(*) AS rows_copied FROM page;
