SELECT rollout.verify_monitoring(ARRAY[
    'public.db_performance_metrics', 'public.query_performance_log', 'rollout.monitor_jobs', 'rollout.monitor_statements'
]);
