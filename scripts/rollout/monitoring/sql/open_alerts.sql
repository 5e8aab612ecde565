SELECT queue_name, kind, observed::float8, threshold::float8, raised_at FROM public.queue_alerts
WHERE resolved_at IS NULL ORDER BY raised_at, queue_name, kind;
