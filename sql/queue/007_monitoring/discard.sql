-- History and what people have set stay: query_performance_log, queue_alerts, queue_alert_thresholds.
DROP MATERIALIZED VIEW IF EXISTS public.queue_health_dashboard;
DROP FUNCTION IF EXISTS public.queue_health();
DROP MATERIALIZED VIEW IF EXISTS public.db_performance_metrics;
DROP TABLE IF EXISTS rollout.monitor_statements;
DROP TABLE IF EXISTS rollout.monitor_jobs;
DROP FUNCTION IF EXISTS rollout.verify_monitoring(text[]);
