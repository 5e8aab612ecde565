-- Sessions that wait for a lock now, for how long (milliseconds), and behind whom.
SELECT
    l.pid, (extract(epoch FROM clock_timestamp() - l.waitstart) * 1000)::float8 AS waited_ms, pg_blocking_pids(l.pid) AS behind
FROM pg_locks AS l
WHERE NOT l.granted AND l.pid IS NOT NULL;
