-- Bytes of WAL written since the beginning of time.
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8 AS written;
