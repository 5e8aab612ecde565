select 'jobs_' || status, count(*) from jobs group by status
union all
select 'jobs_ready', count(*) from jobs where status = 'queued' and (run is null or run < '2030-01-01')
union all
select 'jobs_dead', count(*) from jobs where status = 'failed' and attempt_count >= max_attempts
union all
select 'jobs_without_tenant', count(*) from jobs
where coalesce(payload ->> 'tenant_id', '') !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
