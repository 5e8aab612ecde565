REFRESH MATERIALIZED VIEW public.queue_health_dashboard;
