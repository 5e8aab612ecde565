-- History stays: query_performance_log is no relation of the rollout's.
DROP MATERIALIZED VIEW IF EXISTS public.db_performance_metrics;
DROP TABLE IF EXISTS rollout.monitor_statements;
DROP TABLE IF EXISTS rollout.monitor_jobs;
DROP FUNCTION IF EXISTS rollout.verify_monitoring(text[]);
