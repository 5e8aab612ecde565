-- Checkpoints that were asked for, by WAL or by name, since the statistics were reset (Postgres 17 and later).
SELECT num_requested::float8 AS requested FROM pg_stat_checkpointer;
