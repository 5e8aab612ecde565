-- Jobs after queue partitioning: queue_name is given wherever it is known, so that one partition answers.

-- name: enqueue
INSERT INTO jobs (id, queue_name, tenant_id, status, priority, payload, max_attempts, run)
VALUES (%(id)s::uuid, %(queue_name)s, %(tenant_id)s::uuid, 'queued', %(priority)s::int, %(payload)s, %(max_attempts)s::int,
        %(run)s::timestamptz);

-- name: move
-- Two walks over the index on queued jobs (no date is at once, then the oldest due), so that neither a backlog nor jobs
-- scheduled for later cost anything. What is locked beyond the limit is let go at the end.
WITH at_once AS (
    SELECT id, queue_name FROM jobs WHERE status = 'queued' AND run IS NULL
    ORDER BY priority, created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
due AS (
    SELECT id, queue_name FROM jobs WHERE status = 'queued' AND run <= now()
    ORDER BY run, priority, created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
),
ready AS (
    SELECT id, queue_name FROM at_once UNION ALL SELECT id, queue_name FROM due LIMIT %(limit)s
)
UPDATE jobs AS j SET status = 'migrated_to_redis', updated_at = now()
FROM ready
WHERE j.id = ready.id AND j.queue_name = ready.queue_name
RETURNING j.id, j.queue_name, j.priority, j.payload, j.created_at AS created;

-- name: claim
SELECT id, queue_name, tenant_id, status, priority, payload, attempt_count, max_attempts
FROM jobs WHERE id = %(id)s::uuid FOR UPDATE SKIP LOCKED;

-- name: complete
UPDATE jobs SET status = 'completed', attempt_count = %(attempt)s::int, started = %(started)s, completed = now(), updated_at = now()
WHERE id = %(id)s::uuid AND queue_name = %(queue_name)s;

-- name: retry_later
UPDATE jobs SET status = 'queued', attempt_count = %(attempt)s::int, started = %(started)s, last_error_message = %(message)s,
                run = now() + make_interval(secs => %(backoff_seconds)s), updated_at = now()
WHERE id = %(id)s::uuid AND queue_name = %(queue_name)s;

-- name: give_up
UPDATE jobs SET status = 'failed', attempt_count = %(attempt)s::int, started = %(started)s, failed = now(),
                last_error_message = %(message)s, updated_at = now()
WHERE id = %(id)s::uuid AND queue_name = %(queue_name)s;
