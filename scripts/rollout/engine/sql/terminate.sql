-- Ends a session only while it is still in the transaction that was seen in the way, and is still idle in it or has still
-- written nothing.
SELECT pg_terminate_backend(a.pid) AS ended
FROM pg_stat_activity AS a
WHERE a.pid = %(pid)s AND a.backend_type = 'client backend'
    AND a.backend_start::text = %(backend_start)s AND a.xact_start::text = %(xact_start)s
    AND (a.state LIKE 'idle in transaction%%' OR a.backend_xid IS NULL);
