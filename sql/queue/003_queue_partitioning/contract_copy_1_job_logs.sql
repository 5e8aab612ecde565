WITH chunk AS MATERIALIZED (
    SELECT id, job_id FROM public.job_logs
    WHERE %(after)s::uuid IS NULL OR id > %(after)s::uuid
    ORDER BY id
    LIMIT %(limit)s
), filled AS (
    UPDATE public.job_logs AS l SET queue_name = j.queue_name
    FROM chunk AS c JOIN v2.jobs AS j ON j.id = c.job_id
    WHERE l.id = c.id AND l.queue_name IS NULL
)
SELECT (SELECT id::text FROM chunk ORDER BY id DESC LIMIT 1) AS last_key, (SELECT count(*) FROM chunk) AS rows;
