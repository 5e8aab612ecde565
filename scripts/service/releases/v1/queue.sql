-- Jobs as found: one table, the tenant inside the payload.

-- name: enqueue
INSERT INTO jobs (id, queue_name, status, priority, payload, max_attempts, run)
VALUES (%(id)s::uuid, %(queue_name)s, 'queued', %(priority)s::int, %(payload)s, %(max_attempts)s::int, %(run)s::timestamptz);

-- name: move
-- Two walks over the index on queued jobs (no date is at once, then the oldest due), so that neither a backlog nor jobs
-- scheduled for later cost anything. What is locked beyond the limit is let go at the end.
WITH at_once AS (
    SELECT id FROM jobs WHERE status = 'queued' AND run IS NULL
    ORDER BY priority, created LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
due AS (
    SELECT id FROM jobs WHERE status = 'queued' AND run <= now()
    ORDER BY run, priority, created LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
ready AS (
    SELECT id FROM at_once UNION ALL SELECT id FROM due LIMIT %(limit)s
)
UPDATE jobs AS j SET status = 'migrated_to_redis', updated = now()
FROM ready
WHERE j.id = ready.id
RETURNING j.id, j.queue_name, j.priority, j.payload, j.created;

-- name: claim
SELECT * FROM jobs WHERE id = %(id)s::uuid FOR UPDATE SKIP LOCKED;

-- name: complete
UPDATE jobs SET status = 'completed', attempt_count = %(attempt)s::int, started = %(started)s, completed = now(), updated = now()
WHERE id = %(id)s::uuid;

-- name: retry_later
UPDATE jobs SET status = 'queued', attempt_count = %(attempt)s::int, started = %(started)s, last_error_message = %(message)s,
                run = now() + make_interval(secs => %(backoff_seconds)s), updated = now()
WHERE id = %(id)s::uuid;

-- name: give_up
UPDATE jobs SET status = 'failed', attempt_count = %(attempt)s::int, started = %(started)s, failed = now(),
                last_error_message = %(message)s, updated = now()
WHERE id = %(id)s::uuid;
