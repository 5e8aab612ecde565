-- Acknowledged jobs that are not there, and acknowledged outcomes that Postgres, the logs or the dead letters do not bear out.
INSERT INTO lost
SELECT 'job', j.key, 'no row'
FROM journal AS j
WHERE j.kind = 'job' AND j.phase = 'ack' AND NOT EXISTS (SELECT FROM public.jobs AS q WHERE q.id = j.key::uuid);

CREATE TEMP TABLE completions AS
SELECT l.job_id::text AS key, count(*) AS times
FROM public.job_logs AS l
WHERE l.status = 'completed'
  AND l.job_id IN (SELECT key::uuid FROM journal WHERE phase = 'ack' AND kind IN ('job', 'worked'))
GROUP BY l.job_id;

INSERT INTO lost
SELECT DISTINCT 'worked', w.key, CASE
    WHEN q.id IS NULL THEN 'no row'
    WHEN w.outcome = 'completed' AND q.status <> 'completed' THEN format('completed, but its status is %s', q.status)
    WHEN w.outcome = 'completed' THEN 'completed, but no log says so'
    WHEN q.status <> 'failed' THEN format('dead, but its status is %s', q.status)
    ELSE 'dead, but not among the dead letters'
END
FROM (SELECT key, line ->> 'outcome' AS outcome FROM journal WHERE kind = 'worked' AND phase = 'ack') AS w
LEFT JOIN public.jobs AS q ON q.id = w.key::uuid
LEFT JOIN completions AS c ON c.key = w.key
WHERE q.id IS NULL
   OR (w.outcome = 'completed' AND (q.status <> 'completed' OR c.times IS NULL))
   OR (w.outcome = 'dead' AND (q.status <> 'failed' OR NOT EXISTS (
        SELECT FROM redis_entries AS r WHERE r.list = 'queue:dead-letter' AND r.key = w.key)));
