-- Jobs with a status that says Redis has them, and no entry (`dead`: in the dead letters, where those belong that have no
-- attempt left); how many, and the first.
SELECT j.id, j.queue_name, count(*) OVER () AS found
FROM public.jobs AS j
WHERE j.status = %(status)s AND (NOT %(dead)s OR coalesce(j.attempt_count, 0) >= coalesce(j.max_attempts, 1))
    AND NOT EXISTS (SELECT FROM redis_entries AS r WHERE r.id = j.id AND r.dead = %(dead)s)
ORDER BY j.id LIMIT %(limit)s
