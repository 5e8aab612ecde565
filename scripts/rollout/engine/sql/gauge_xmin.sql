-- Who keeps the oldest rows from being vacuumed in this database, and for how many transactions already.
SELECT h.who, h.age, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all
FROM (
    SELECT 'nobody' AS who, 0::float8 AS age
    UNION ALL
    SELECT 'pid ' || a.pid, age(a.backend_xmin)::float8 FROM pg_stat_activity AS a
    WHERE a.backend_xmin IS NOT NULL AND (a.datname = current_database() OR a.datname IS NULL)
    UNION ALL
    SELECT 'slot ' || s.slot_name, greatest(age(s.xmin), age(s.catalog_xmin))::float8 FROM pg_replication_slots AS s
    WHERE coalesce(s.xmin, s.catalog_xmin) IS NOT NULL AND (s.database = current_database() OR s.database IS NULL)
    UNION ALL
    SELECT 'prepared transaction ' || p.gid, age(p.transaction)::float8 FROM pg_prepared_xacts AS p
    WHERE p.database = current_database()
) AS h
ORDER BY h.age DESC
LIMIT 1;
