-- Statements on queue that both releases share: job_logs keeps its shape.

-- name: log_attempt
INSERT INTO job_logs (id, job_id, status, log_message, attempt_number, started, finished, duration)
VALUES (%(log_id)s::uuid, %(id)s::uuid, %(outcome)s, %(message)s, %(attempt)s::int, %(started)s, clock_timestamp(),
        clock_timestamp() - %(started)s::timestamptz);

-- name: status_of
SELECT status FROM jobs WHERE id = %(id)s::uuid;
