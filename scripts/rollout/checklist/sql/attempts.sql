-- Attempts of jobs that ended in a window (epoch seconds), by their outcome; jobs whose payload asks to fail are left out.
SELECT count(*) FILTER (WHERE l.status = 'completed') AS completed,
       count(*) FILTER (WHERE l.status = 'failed') AS failed
FROM public.job_logs l
JOIN public.jobs j ON j.id = l.job_id
WHERE l.finished >= to_timestamp(%(since)s) AND l.finished < to_timestamp(%(until)s)
  AND coalesce(j.payload ->> 'fail_times', '0') = '0';
