-- Give the next of them back to the queuer. One that a worker has locked is in good hands.
WITH missing AS (
    SELECT j.id FROM public.jobs AS j
    WHERE j.status = 'migrated_to_redis' AND NOT EXISTS (SELECT FROM redis_entries AS r WHERE r.id = j.id AND NOT r.dead)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE public.jobs AS j SET status = 'queued'
FROM missing
WHERE j.id = missing.id AND j.status = 'migrated_to_redis'
