-- Jobs are numbered in the order of their creation: history first (completed, failed), then what waits: scheduled,
-- ready, processing, and last what the queuer has moved to Redis. Scheduled jobs are due in 2036, so that none falls due
-- in the middle of somebody's rollout. One chunk writes jobs and their logs in one transaction.
-- fill jobs: jobs
with numbered as (
    select
        n,
        (array[
            'email-sending', 'email-sending', 'email-sending', 'email-sending', 'email-sending', 'email-sending',
            'email-sending:high', 'email-sending:high', 'email-sending:low', 'email-sending:low',
            'email-processing', 'email-processing', 'email-processing', 'warmup-processing', 'warmup-processing',
            'analytics-daily', 'analytics-campaign', 'analytics-billing', 'bounce-processing', 'webhook-processing'
        ])[1 + mod(n, 20)] as queue_name,
        case
            when n >= %(jobs)s - %(jobs_migrated)s then 'migrated_to_redis'
            when n >= %(jobs)s - %(jobs_migrated)s - %(jobs_processing)s then 'processing'
            when n >= %(jobs_finished)s then 'queued'
            when pg_temp.pick(50, n, 40) = 0 then 'failed'
            else 'completed'
        end as status,
        timestamptz '2026-08-01 00:00:00+00' + make_interval(secs => 7948800.0 * n / %(jobs)s) as created,
        pg_temp.tenant_of(51, n) as t,
        pg_temp.pick(52, n, 100) as luck
    from generate_series(%(low)s::bigint, %(high)s::bigint) as n
),

shaped as (
    select
        *,
        case
            when status in ('queued', 'migrated_to_redis') then 0
            when status = 'processing' then 1
            -- Of the failed, 3 in 4 have used up their attempts and are dead letters.
            when status = 'failed' then case when luck < 75 then 3 else 1 end
            when luck < 85 then 1
            when luck < 97 then 2
            else 3
        end as attempt_count,
        case
            when queue_name like '%%:high' then 50
            when queue_name like '%%:low' then 200
            else (array[100, 100, 100, 100, 50, 200])[1 + pg_temp.pick(53, n, 6)]
        end as priority,
        -- A handful of payloads carry no tenant, or one that is not a uuid.
        case mod(n, 2000)
            when 3 then '{}'::jsonb
            when 5 then '{"tenant_id": "not-a-uuid"}'
            when 9 then '{"tenant_id": null}'
            when 11 then '{"tenant_id": 42}'
            else jsonb_build_object('tenant_id', pg_temp.id('tenant', t))
        end as tenant
    from numbered
),

made as (
    insert into jobs (
        id, queue_name, status, priority, payload, attempt_count, run, started, completed, failed, last_error_message, created, updated
    )
    select
        pg_temp.id('job', n), queue_name, status, priority,
        tenant || jsonb_build_object(
            'campaign_id', pg_temp.id('campaign', pg_temp.child_of(t, %(campaigns_each)s, 54, n)),
            'lead_id', pg_temp.id('lead', pg_temp.child_of(t, %(leads_each)s, 55, n)), 'seeded', n
        ),
        attempt_count,
        case
            when status <> 'queued' then created
            when n < %(jobs_finished)s + %(jobs_scheduled)s then timestamptz '2036-01-01 00:00:00+00' + make_interval(secs => n)
            when mod(n, 2) = 0 then created
        end,
        case when attempt_count > 0 then created + interval '2 seconds' end,
        case when status = 'completed' then created + make_interval(secs => 2 + attempt_count * 30) end,
        case when status = 'failed' then created + make_interval(secs => 2 + attempt_count * 30) end,
        case when status = 'failed' then 'smtp timeout' end, created,
        created + make_interval(secs => 2 + attempt_count * 30)
    from shaped
    on conflict do nothing
    returning id, status, attempt_count, started
)

insert into job_logs (id, job_id, status, log_message, attempt_number, started, finished, duration, created)
select
    md5(id::text || ':' || attempt)::uuid, id,
    case when status = 'completed' and attempt = attempt_count then 'completed' else 'failed' end,
    case when status = 'completed' and attempt = attempt_count then 'done' else 'smtp timeout' end,
    attempt, s.started, s.started + s.took, s.took, s.started + s.took
from made
cross join lateral generate_series(1, attempt_count) as attempt
cross join lateral (
    select started + make_interval(secs => (attempt - 1) * 30) as started, make_interval(secs => 0.05 * (1 + mod(ascii(right(id::text, 1)), 10))) as took
) as s
where status in ('completed', 'failed')
on conflict do nothing

-- fill analytics_jobs: analytics_jobs
insert into analytics_jobs (id, job_type, status, payload, priority, queued, processed, created)
select
    pg_temp.id('analytics-job', n), (array['daily', 'campaign', 'billing'])[1 + mod(n, 3)], 'completed',
    jsonb_build_object('tenant_id', pg_temp.id('tenant', mod(n, %(tenants)s))), 100, pg_temp.at(56, n), pg_temp.at(56, n) + interval '9 seconds', pg_temp.at(56, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing
