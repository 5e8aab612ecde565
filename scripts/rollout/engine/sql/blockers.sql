-- Who holds, or asked earlier for, a lock that one of %(modes)s on %(relations)s would wait for. LOCK TABLE also takes the
-- partitions and children of a table and whatever stands behind a view, so these count too.
WITH RECURSIVE asked (oid) AS (
    SELECT unnest(%(relations)s::oid[])
    UNION
    SELECT behind.oid
    FROM asked
    CROSS JOIN LATERAL (
        SELECT i.inhrelid AS oid FROM pg_inherits AS i WHERE i.inhparent = asked.oid
        UNION ALL
        SELECT d.refobjid
        FROM pg_class AS v
        JOIN pg_rewrite AS r ON r.ev_class = v.oid
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
        WHERE v.oid = asked.oid AND v.relkind = 'v'
    ) AS behind
), in_the_way AS (
    SELECT
        l.pid, CASE WHEN l.pid IS NULL THEN l.virtualtransaction END AS prepared, bool_or(l.granted) AS holds,
        max(array_position(ARRAY['AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
            'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'], l.mode)) AS strength
    FROM pg_locks AS l
    JOIN asked ON asked.oid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = ANY (%(modes)s) AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    GROUP BY 1, 2
)
SELECT
    w.pid, p.gid, w.holds, w.strength, a.backend_type,
    a.pid IS NOT NULL OR p.gid IS NOT NULL AS there,
    coalesce(a.usename, p.owner, '')::text AS role,
    coalesce(a.application_name, '') AS application,
    coalesce(a.state, '') AS state,
    coalesce(left(regexp_replace(a.query, '\s+', ' ', 'g'), 100), '') AS query,
    round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::numeric, 1)::float8 AS seconds,
    round(extract(epoch FROM clock_timestamp() - a.state_change)::numeric, 1)::float8 AS state_seconds,
    a.backend_xid IS NOT NULL AS wrote,
    (a.usename = current_user AND a.application_name = current_setting('application_name')) IS TRUE AS own,
    a.backend_start::text AS backend_start, a.xact_start::text AS xact_start,
    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(w.pid) ELSE '{}' END AS waits_for,
    CASE WHEN v.heap_blks_total > 0 THEN round(100.0 * v.heap_blks_scanned / v.heap_blks_total)::int END AS scanned_percent,
    v.phase
FROM in_the_way AS w
LEFT JOIN pg_stat_activity AS a ON a.pid = w.pid
-- A prepared transaction has no pid; of its locks the one on its own id says which it is.
LEFT JOIN pg_locks AS x ON x.virtualtransaction = w.prepared AND x.locktype = 'transactionid' AND x.pid IS NULL
LEFT JOIN pg_prepared_xacts AS p ON p.transaction = x.transactionid
LEFT JOIN pg_stat_progress_vacuum AS v ON v.pid = w.pid
WHERE a.backend_type IS DISTINCT FROM 'parallel worker'  -- its leader holds the same lock
ORDER BY seconds DESC NULLS LAST;
