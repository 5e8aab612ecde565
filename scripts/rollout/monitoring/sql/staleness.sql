-- A job that has never succeeded is as old as its first beginning.
SELECT extract(epoch FROM now() - coalesce(j.last_success, j.first_started_at))::float8 / 3600 AS value, j.job AS detail
FROM rollout.monitor_jobs AS j ORDER BY coalesce(j.last_success, j.first_started_at) LIMIT 1;
