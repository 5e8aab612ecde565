INSERT INTO rollout.monitor_jobs (job, runner, started_at) VALUES (%(job)s, %(runner)s, clock_timestamp())
ON CONFLICT (job) DO UPDATE SET runner = excluded.runner, started_at = excluded.started_at, finished_at = NULL;
