SELECT
    (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    current_setting('server_version') AS version,
    current_setting('server_version_num')::int / 10000 AS major,
    (SELECT setting::bigint * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END FROM pg_settings WHERE name = 'wal_segment_size') AS segment,
    (SELECT rolname::text FROM pg_roles WHERE oid = 10) AS superuser,
    (SELECT sum(pg_database_size(oid))::bigint FROM pg_database WHERE datallowconn) AS bytes,
    (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS tablespaces,
    current_setting('wal_level') AS wal_level,
    current_setting('max_slot_wal_keep_size') AS slot_limit
