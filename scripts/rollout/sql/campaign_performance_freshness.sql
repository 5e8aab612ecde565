-- How old the view is now; one row, replaced.
INSERT INTO {freshness} AS f (one, refreshed_at, source_copied_at, rows, without_campaign, duration)
SELECT
    true,
    now(),
    %(copied_at)s,
    (SELECT count(*) FROM {view}),
    (
        SELECT count(DISTINCT a.campaign_id) FROM public.campaign_analytics AS a
        WHERE NOT EXISTS (SELECT FROM {reference} AS r WHERE r.campaign_id = a.campaign_id)
    ),
    %(duration)s
ON CONFLICT (one) DO UPDATE SET
    refreshed_at = excluded.refreshed_at, source_copied_at = excluded.source_copied_at, rows = excluded.rows,
    without_campaign = excluded.without_campaign, duration = excluded.duration
RETURNING refreshed_at, source_copied_at, rows, without_campaign, extract(epoch FROM duration)::float8 AS duration_seconds;
