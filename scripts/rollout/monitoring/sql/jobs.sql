-- How each job stands; `running` is a runner's word and holds as long as its lock does.
SELECT
    j.job, j.runner, j.runs, j.failures, j.last_error, j.facts, j.started_at, j.last_success,
    extract(epoch FROM j.duration)::float8 AS seconds,
    extract(epoch FROM clock_timestamp() - j.last_success)::float8 AS age_seconds,
    EXISTS (
        SELECT FROM pg_catalog.pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
            AND l.classid::bigint = (hashtext('rollout.monitor')::bigint & 4294967295)
            AND l.objid::bigint = (hashtext(j.job)::bigint & 4294967295)
    ) AS running
FROM rollout.monitor_jobs AS j
ORDER BY j.job;
