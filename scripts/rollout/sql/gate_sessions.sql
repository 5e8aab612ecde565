-- Sessions of the application on this database, and how long the longest has waited for a lock (ms, 0 when none does).
SELECT count(DISTINCT a.pid) AS sessions,
       count(l.pid) AS waiting,
       coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)) * 1000, 0) AS longest_ms,
       coalesce(array_agg(DISTINCT b.pid::text || ' ' || b.application_name) FILTER (WHERE b.pid IS NOT NULL), '{}') AS blockers
FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
LEFT JOIN LATERAL unnest(CASE WHEN l.pid IS NOT NULL THEN pg_blocking_pids(l.pid) END) AS blocker(pid) ON true
LEFT JOIN pg_stat_activity b ON b.pid = blocker.pid
WHERE a.datname = current_database() AND a.usename = ANY (%(app_roles)s);
