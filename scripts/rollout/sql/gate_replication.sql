-- Replicas of this server, by a name that a reconnection keeps. replay_lag is NULL when nothing was written lately: then the distance decides (NaN: unknown).
SELECT coalesce(nullif(application_name, ''), client_addr::text, 'local') AS replica,
       state,
       CASE WHEN replay_lag IS NOT NULL THEN extract(epoch FROM replay_lag)::float8
            WHEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) = 0 THEN 0::float8
            ELSE 'NaN'::float8 END AS lag_seconds
FROM pg_stat_replication
-- A base backup and the first copy of a subscription's table come and go.
WHERE application_name <> 'pg_basebackup' AND application_name !~ '^pg_\d+_sync_\d+_\d+$';
