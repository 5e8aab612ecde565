-- Each replica: how far behind (bytes), the lag it reports (seconds, NULL when it is idle), and where both sides stand.
SELECT
    application_name::text AS replica, state IS NULL AS hidden, pg_current_wal_lsn() - '0/0'::pg_lsn AS written,
    replay_lsn - '0/0'::pg_lsn AS replayed, extract(epoch FROM replay_lag)::float8 AS reported_seconds
FROM pg_stat_replication
WHERE state IS NULL OR (state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL);
