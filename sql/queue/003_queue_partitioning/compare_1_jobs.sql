-- Both sides' next rows in key order. The shadow's side reads a few more than the limit, so that rows which only it holds
-- show up; beyond those few the range differs anyway.
WITH old AS MATERIALIZED (
    SELECT id, ROW (queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
        last_error_message, created, updated) AS held
    FROM jobs
    WHERE (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
        AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::uuid[]))
    ORDER BY id
    LIMIT %(limit)s
), new AS MATERIALIZED (
    SELECT id, ROW (queue_name, status, priority, payload, attempt_count, max_attempts, run, started, completed, failed,
        last_error_message, created_at, updated_at) AS held
    FROM v2.jobs
    WHERE (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
        AND (%(keys)s::text[] IS NULL OR id = ANY (%(keys)s::uuid[]))
    ORDER BY id
    LIMIT %(limit)s + 21
), range AS (
    SELECT count(*) AS rows, CASE WHEN count(*) = %(limit)s AND %(keys)s::text[] IS NULL THEN (
        SELECT id FROM old ORDER BY id DESC LIMIT 1
    ) END AS high FROM old
)
SELECT (SELECT high::text FROM range) AS last_key, (SELECT rows FROM range) AS rows, ARRAY (
    SELECT id::text FROM old FULL JOIN new USING (id), range
    WHERE (range.high IS NULL OR id <= range.high)
        AND (old.held IS DISTINCT FROM new.held)
    LIMIT 20
) AS differing;
