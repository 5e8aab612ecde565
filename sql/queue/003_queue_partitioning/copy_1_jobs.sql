-- FOR KEY SHARE keeps a concurrent delete or key change from leaving a ghost; a concurrent update loses or wins on the
-- shadow's row: DO NOTHING here, an upsert in the trigger, so the newer value stands either way.
WITH chunk AS MATERIALIZED (
    SELECT id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
        last_error_message, created, updated
    FROM public.jobs
    WHERE %(after)s::uuid IS NULL OR id > %(after)s::uuid
    ORDER BY id
    LIMIT %(limit)s
    FOR KEY SHARE
), copied AS (
    INSERT INTO v2.jobs (
        id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
        last_error_message, tenant_id, created_at, updated_at
    )
    SELECT id, queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
        last_error_message, rollout.uuid_or_null(payload ->> 'tenant_id'), created, updated
    FROM chunk
    ON CONFLICT (id, queue_name) DO NOTHING
)
SELECT (SELECT id::text FROM chunk ORDER BY id DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
