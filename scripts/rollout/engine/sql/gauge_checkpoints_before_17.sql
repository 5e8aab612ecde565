-- Checkpoints that were asked for, by WAL or by name, since the statistics were reset (before Postgres 17).
SELECT checkpoints_req::float8 AS requested FROM pg_stat_bgwriter;
