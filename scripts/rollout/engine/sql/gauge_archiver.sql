-- What the archiver says of itself; its backlog is counted in gauge_archive_ready.sql, where the role may.
SELECT
    current_setting('archive_mode') <> 'off' AS archiving,
    last_archived_wal, pg_walfile_name(pg_current_wal_lsn()) AS current_wal,
    pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes
FROM pg_stat_archiver;
