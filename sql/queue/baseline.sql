-- The queue tier as found. Applied once, on an empty database, in one transaction, by the role that is to own it.

create table job_queues (
    name varchar(100) primary key,
    default_priority int default 100,
    is_active boolean default true,
    created timestamptz default now()
);

create table jobs (
    id uuid primary key default gen_random_uuid(),
    queue_name varchar(100) references job_queues (name) on delete cascade,
    status varchar(50) default 'queued',
    priority int default 100,
    payload jsonb not null,
    attempt_count int default 0,
    max_attempts int default 3,
    run timestamptz,
    started timestamptz,
    completed timestamptz,
    failed timestamptz,
    last_error_message text,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table job_logs (
    id uuid primary key default gen_random_uuid(),
    job_id uuid references jobs (id) on delete cascade,
    status varchar(50),
    log_message text,
    attempt_number int,
    started timestamptz,
    finished timestamptz,
    duration interval,
    created timestamptz default now()
);

create table analytics_jobs (
    id uuid primary key default gen_random_uuid(),
    job_type varchar(100),
    status varchar(50) default 'queued',
    payload jsonb,
    priority int default 100,
    queued timestamptz,
    processed timestamptz,
    error_message text,
    created timestamptz default now()
);

create index idx_jobs_status_run_priority_created on jobs (status, run, priority, created) where status = 'queued';
create index idx_jobs_queue_name_status_run_priority on jobs (queue_name, status, run, priority) where status = 'queued';
create index idx_jobs_status_updated_queue_name on jobs (status, updated, queue_name);
create index idx_job_logs_job_id_attempt_number_finished on job_logs (job_id, attempt_number, finished);

comment on column jobs.status is 'queued, migrated_to_redis, processing, completed, failed; not constrained';
comment on column jobs.priority is '<= 50 high, <= 150 normal, else low';
comment on column jobs.run is 'not before this time; null is at once';
comment on column jobs.payload is 'the tenant is payload->>''tenant_id'': there is no column for it';

insert into job_queues (name, default_priority, created) values
('email-sending', 100, '2023-11-01 00:00:00+00'),
('email-sending:high', 50, '2023-11-01 00:00:00+00'),
('email-sending:low', 200, '2023-11-01 00:00:00+00'),
('email-processing', 100, '2023-11-01 00:00:00+00'),
('analytics-daily', 200, '2023-11-01 00:00:00+00'),
('analytics-campaign', 100, '2023-11-01 00:00:00+00'),
('analytics-billing', 100, '2023-11-01 00:00:00+00'),
('warmup-processing', 200, '2023-11-01 00:00:00+00'),
('bounce-processing', 50, '2023-11-01 00:00:00+00'),
('webhook-processing', 100, '2023-11-01 00:00:00+00');

grant usage on schema public to penguin_app;
grant select, insert, update, delete on all tables in schema public to penguin_app;
-- The workers are a role of their own: they serve all tenants, and nothing but the queue.
grant usage on schema public to penguin_worker;
grant select, insert, update, delete on all tables in schema public to penguin_worker;
