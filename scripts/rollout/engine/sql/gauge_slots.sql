-- The slot that keeps the most WAL from being removed (a slot that has lost its WAL keeps none).
SELECT slot_name::text AS slot, ((pg_current_wal_lsn() - restart_lsn) / 1048576)::float8 AS mib
FROM pg_replication_slots
WHERE restart_lsn IS NOT NULL
ORDER BY mib DESC
LIMIT 1;
