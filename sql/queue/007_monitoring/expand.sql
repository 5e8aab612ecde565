-- queue, expand: how each queue stands. Nothing of the product is touched, so there is nothing to swap: a rollback leaves the figures
-- where they are, because that is when they are wanted.

-- statement
-- A function and no view: it asks for public.jobs by its name each time, so it reads the authority before and after the swap, after a
-- rollback and after contract, and holds on to none of them. Only the names of two columns change on the way.
CREATE OR REPLACE FUNCTION public.queue_health() RETURNS TABLE (
    queue_name varchar(100), pending_jobs bigint, queued_jobs bigint, avg_queue_age_seconds numeric, failed_jobs bigint,
    retried_jobs bigint, newest_job timestamptz, oldest_job timestamptz, finished_in_hour bigint, failed_in_hour bigint,
    failure_rate numeric, observed_at timestamptz
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    suffix text := CASE WHEN EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = to_regclass('public.jobs') AND a.attname = 'created_at' AND NOT a.attisdropped
    ) THEN '_at' ELSE '' END;
BEGIN
    RETURN QUERY EXECUTE format($query$
        WITH counted AS (
            SELECT
                j.queue_name,
                count(*) FILTER (WHERE j.status IN ('queued', 'migrated_to_redis', 'processing')) AS pending,
                count(*) FILTER (WHERE j.status = 'queued') AS queued,
                -- A job that is not due yet is not late.
                avg(extract(epoch FROM now() - greatest(j.%1$I, j.run))) FILTER (
                    WHERE j.status IN ('queued', 'migrated_to_redis') AND (j.run IS NULL OR j.run <= now())
                ) AS age,
                count(*) FILTER (WHERE j.status = 'failed') AS failed,
                count(*) FILTER (WHERE j.attempt_count > 0 AND j.status <> 'completed') AS retried,
                max(j.%1$I) FILTER (WHERE j.status IN ('queued', 'migrated_to_redis', 'processing')) AS newest,
                min(j.%1$I) FILTER (WHERE j.status IN ('queued', 'migrated_to_redis', 'processing')) AS oldest,
                count(*) FILTER (WHERE j.status IN ('completed', 'failed') AND j.%2$I >= now() - interval '1 hour') AS ended_in_hour,
                count(*) FILTER (WHERE j.status = 'failed' AND j.%2$I >= now() - interval '1 hour') AS failed_in_hour
            FROM public.jobs AS j
            -- Of the completed ones, most of a table, the index on (status, updated) reads those of the last hour.
            WHERE j.status IN ('queued', 'migrated_to_redis', 'processing', 'failed')
                OR (j.status = 'completed' AND j.%2$I >= now() - interval '1 hour')
            GROUP BY j.queue_name
        )
        SELECT
            coalesce(q.name, c.queue_name, '(no queue)')::varchar(100), coalesce(c.pending, 0), coalesce(c.queued, 0),
            round(c.age, 3), coalesce(c.failed, 0), coalesce(c.retried, 0), c.newest, c.oldest,
            coalesce(c.ended_in_hour, 0), coalesce(c.failed_in_hour, 0),
            round(c.failed_in_hour::numeric / nullif(c.ended_in_hour, 0), 4), now()
        FROM public.job_queues AS q FULL JOIN counted AS c ON c.queue_name = q.name
    $query$, 'created' || suffix, 'updated' || suffix);
END $$;
REVOKE ALL ON FUNCTION public.queue_health() FROM PUBLIC, penguin_app;
COMMENT ON FUNCTION public.queue_health() IS
'each queue as it is now: jobs not yet done, the mean age (s) of those that are due, jobs that failed for good and their share of an hour';

-- statement
-- Filled by validate.sql, in a transaction that nobody waits for.
CREATE MATERIALIZED VIEW public.queue_health_dashboard AS SELECT h.* FROM public.queue_health() AS h WITH NO DATA;
CREATE UNIQUE INDEX queue_health_dashboard_queue_name ON public.queue_health_dashboard (queue_name);
COMMENT ON MATERIALIZED VIEW public.queue_health_dashboard IS 'queue_health() at observed_at; invoke monitor.refresh renews it beside its readers';
REVOKE ALL ON public.queue_health_dashboard FROM PUBLIC, penguin_app;
GRANT SELECT ON public.queue_health_dashboard TO pg_monitor;

-- statement
-- Without a foreign key, which would lock job_queues. What people set here stays when the change is discarded.
CREATE TABLE IF NOT EXISTS public.queue_alert_thresholds (
    queue_name varchar(100) PRIMARY KEY,
    max_pending_jobs integer DEFAULT 1000,
    max_avg_age_seconds integer DEFAULT 300,
    max_failure_rate decimal(5, 2) DEFAULT 0.05,
    alert_enabled boolean DEFAULT true
);
COMMENT ON TABLE public.queue_alert_thresholds IS 'limits of each queue; null is not looked at. A queue made later gets its row at the next pass';
-- More than 100 queued jobs is what the product calls too many; the column's default is the one that was asked for.
INSERT INTO public.queue_alert_thresholds (queue_name, max_pending_jobs) SELECT q.name, 100 FROM public.job_queues AS q
ON CONFLICT (queue_name) DO NOTHING;
REVOKE ALL ON public.queue_alert_thresholds FROM PUBLIC, penguin_app;
GRANT SELECT ON public.queue_alert_thresholds TO pg_monitor;

-- statement
-- History: it stays when the change is discarded.
CREATE TABLE IF NOT EXISTS public.queue_alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_name varchar(100) NOT NULL,
    kind text NOT NULL,
    observed numeric NOT NULL,
    threshold numeric NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolved_observed numeric
);
-- This is what raises an alert once, however many look at the same moment.
CREATE UNIQUE INDEX IF NOT EXISTS queue_alerts_open ON public.queue_alerts (queue_name, kind) WHERE resolved_at IS NULL;
COMMENT ON TABLE public.queue_alerts IS 'raised once and resolved once; open while resolved_at is null';
COMMENT ON COLUMN public.queue_alerts.observed IS 'what was seen when it was raised, in the unit of its threshold';

REVOKE ALL ON public.queue_alerts FROM PUBLIC, penguin_app;
GRANT SELECT ON public.queue_alerts TO pg_monitor;
