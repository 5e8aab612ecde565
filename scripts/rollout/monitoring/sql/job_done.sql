UPDATE rollout.monitor_jobs SET
    finished_at = clock_timestamp(), duration = clock_timestamp() - started_at, runs = runs + 1,
    failures = failures + CASE WHEN %(error)s::text IS NULL THEN 0 ELSE 1 END,
    last_success = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() ELSE last_success END,
    last_error = %(error)s::text, facts = CASE WHEN %(error)s::text IS NULL THEN %(facts)s::jsonb ELSE facts END
WHERE job = %(job)s
RETURNING extract(epoch FROM duration)::float8 AS seconds;
