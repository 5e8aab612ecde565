-- What is not sealed: rows, and the age of the oldest in seconds.
SELECT count(*) AS rows, coalesce(extract(epoch FROM clock_timestamp() - min(l.created_at)), 0)::float8 AS oldest_seconds
FROM public.audit_log_enhanced AS l
WHERE l.xact >= %(xact)s AND (l.xact, l.id) > (%(xact)s, %(id)s)
