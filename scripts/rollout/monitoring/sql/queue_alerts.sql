-- Judges the dashboard that the pass has just renewed. A partial unique index lets one evaluator raise an alert; a row is resolved once,
-- because who comes second finds it resolved.
WITH complete AS (
    INSERT INTO public.queue_alert_thresholds (queue_name, max_pending_jobs) SELECT q.name, %(max_pending_jobs)s FROM public.job_queues AS q
    ON CONFLICT (queue_name) DO NOTHING
),
judged AS MATERIALIZED (
    SELECT h.queue_name, k.kind, k.observed, k.threshold, t.alert_enabled AND k.observed > k.threshold AS is_over
    FROM public.queue_health_dashboard AS h
    JOIN public.queue_alert_thresholds AS t USING (queue_name)
    CROSS JOIN LATERAL (VALUES
        ('pending_jobs', h.pending_jobs::numeric, t.max_pending_jobs::numeric),
        ('average_age', h.avg_queue_age_seconds, t.max_avg_age_seconds::numeric),
        ('failure_rate', h.failure_rate, t.max_failure_rate)
    ) AS k (kind, observed, threshold)
),
raised AS (
    INSERT INTO public.queue_alerts (queue_name, kind, observed, threshold)
    SELECT j.queue_name, j.kind, j.observed, j.threshold FROM judged AS j WHERE j.is_over
    ON CONFLICT (queue_name, kind) WHERE resolved_at IS NULL DO NOTHING
    RETURNING 1
),
resolved AS (
    UPDATE public.queue_alerts AS a SET resolved_at = clock_timestamp(), resolved_observed = (
        SELECT j.observed FROM judged AS j WHERE j.queue_name = a.queue_name AND j.kind = a.kind
    )
    WHERE a.resolved_at IS NULL AND NOT EXISTS (
        SELECT FROM judged AS j WHERE j.queue_name = a.queue_name AND j.kind = a.kind AND j.is_over
    )
    RETURNING 1
),
expired AS (
    DELETE FROM public.queue_alerts WHERE resolved_at < now() - make_interval(days => %(keep_days)s) RETURNING 1
)
SELECT
    (SELECT count(*) FROM raised) AS raised, (SELECT count(*) FROM resolved) AS resolved, (SELECT count(*) FROM expired) AS expired;
