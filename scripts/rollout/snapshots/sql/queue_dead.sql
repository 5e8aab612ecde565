-- The next failed jobs without an attempt left after an id that are not among the dead letters, as their entries are made.
SELECT j.id, j.queue_name, j.priority, j.payload
FROM public.jobs AS j
WHERE j.status = 'failed' AND coalesce(j.attempt_count, 0) >= coalesce(j.max_attempts, 1)
    AND j.id > %(after)s::uuid
    AND NOT EXISTS (SELECT FROM redis_entries AS r WHERE r.id = j.id AND r.dead)
ORDER BY j.id LIMIT %(limit)s
