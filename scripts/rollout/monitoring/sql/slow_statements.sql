-- Of the newest pass within the window; when no statement of the application was counted then, there is nothing to say.
SELECT extract(epoch FROM l.execution_time)::float8 * 1000 AS value, format('%%s calls: %%s', l.calls, left(l.query_text, 120)) AS detail
FROM public.query_performance_log AS l
WHERE l.role_name = ANY (%(roles)s)
    AND l.created_at = (
        SELECT max(n.created_at) FROM public.query_performance_log AS n WHERE n.created_at > now() - make_interval(secs => %(window_seconds)s)
    )
ORDER BY l.execution_time DESC LIMIT 1;
