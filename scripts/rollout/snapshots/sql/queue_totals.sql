-- Jobs of which Redis should know something, and entries that stand more than once in the workers' lists.
SELECT
    (SELECT count(*) FROM public.jobs AS j WHERE j.status = 'migrated_to_redis'
        OR (j.status = 'failed' AND coalesce(j.attempt_count, 0) >= coalesce(j.max_attempts, 1))) AS jobs,
    (SELECT count(*) FROM (SELECT FROM redis_entries WHERE NOT dead GROUP BY id HAVING count(*) > 1) AS twice) AS doubled
