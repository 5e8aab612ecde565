-- Jobs that the queuer should have moved by now, how long the first of them has been due (s), how many have been moved or
-- worked since an instant (epoch seconds; NULL: none asked for), and this server's clock. The names are those that blue and
-- green both have until contract; the partial index on queued jobs serves the first two (the queuer's own order).
SELECT count(*)::float8 AS ready,
       coalesce(extract(epoch FROM now() - min(run)), 0)::float8 AS oldest_seconds,
       (SELECT count(*) FROM public.jobs
        WHERE status IN ('migrated_to_redis', 'processing', 'completed', 'failed')
            AND updated >= to_timestamp(%(since)s::float8))::float8 AS moved,
       extract(epoch FROM now())::float8 AS at
FROM public.jobs
WHERE status = 'queued' AND (run IS NULL OR run <= now());
