SELECT h.queued_jobs::float8 AS value, format('%%s: %%s not yet done, %%s failed', h.queue_name, h.pending_jobs, h.failed_jobs) AS detail
FROM public.queue_health() AS h ORDER BY h.queued_jobs DESC LIMIT 1;
