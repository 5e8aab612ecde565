-- Jobs that the queuer should have moved by now, how long the first of them has been due (s), and this server's clock.
-- Only names that every shape of jobs has; the partial index on queued jobs serves both (the queuer's own order).
SELECT count(*)::float8 AS ready,
       coalesce(extract(epoch FROM now() - min(run)), 0)::float8 AS oldest_seconds,
       extract(epoch FROM now())::float8 AS at
FROM public.jobs
WHERE status = 'queued' AND (run IS NULL OR run <= now());
