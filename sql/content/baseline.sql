-- The content tier as found. Applied once, on an empty database, in one transaction, by the role that is to own it.
-- tenant_id, email_account_id, campaign_id, lead_id, user_id and job_id point into other databases: no constraint can hold them.

create table email_content (
    storage_key varchar(500) primary key,
    tenant_id uuid not null,
    content_text text,
    content_html text,
    headers jsonb,
    raw_size_bytes int,
    compressed_size_bytes int,
    content_hash varchar(64),
    compression_algorithm varchar(20),
    expires timestamptz,
    archived timestamptz,
    last_accessed timestamptz,
    retention_days int default 2555,
    is_archived boolean default false,
    created timestamptz default now()
);

create table content_objects (
    storage_key varchar(500) primary key,
    tenant_id uuid not null,
    content_text text,
    content_html text,
    headers jsonb,
    raw_size_bytes int,
    compressed_size_bytes int,
    content_hash varchar(64),
    compression_algorithm varchar(20),
    expires timestamptz,
    archived timestamptz,
    last_accessed timestamptz,
    retention_days int default 2555,
    is_archived boolean default false,
    created timestamptz default now()
);

create table email_messages (
    storage_key varchar(500) primary key references email_content (storage_key),
    tenant_id uuid not null,
    email_account_id uuid,
    campaign_id uuid,
    lead_id uuid,
    parent_message_id varchar(500),
    direction varchar(20) check (direction in ('inbound', 'outbound')),
    message_type varchar(20) check (message_type in ('email', 'bounce', 'auto_reply')),
    from_email varchar(254),
    to_email varchar(254),
    subject varchar(500),
    status varchar(50) check (status in ('queued', 'sent', 'delivered', 'bounced', 'failed', 'opened', 'replied')),
    processed timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table content_inbox_message_refs (
    storage_key varchar(500) primary key references email_content (storage_key),
    tenant_id uuid not null,
    email_account_id uuid,
    campaign_id uuid,
    lead_id uuid,
    parent_message_id varchar(500),
    direction varchar(20) check (direction in ('inbound', 'outbound')),
    message_type varchar(20) check (message_type in ('email', 'bounce', 'auto_reply')),
    from_email varchar(254),
    to_email varchar(254),
    subject varchar(500),
    status varchar(50) check (status in ('queued', 'sent', 'delivered', 'bounced', 'failed', 'opened', 'replied')),
    processed timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table attachments (
    id uuid primary key default gen_random_uuid(),
    parent_storage_key varchar(500) references content_objects (storage_key),
    filename varchar(255),
    original_filename varchar(255),
    mime_type varchar(100),
    size_bytes int,
    compressed_size_bytes int,
    content bytea not null,
    storage_disposition varchar(20) check (storage_disposition in ('inline', 'attachment')),
    content_hash varchar(64),
    compression_algorithm varchar(20),
    is_scanned boolean default false,
    virus_scan_result varchar(50),
    archived timestamptz,
    expires timestamptz,
    created timestamptz default now()
);

create table transactional_emails (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    tenant_id uuid not null,
    type varchar(100),
    payload jsonb,
    template_variables jsonb,
    recipient_email varchar(254),
    subject varchar(500),
    content_storage_key varchar(500),
    status varchar(50) check (status in ('queued', 'sent', 'failed', 'delivered', 'bounced')),
    queued timestamptz,
    sent timestamptz,
    failed timestamptz,
    delivered timestamptz,
    bounced timestamptz,
    last_error_message text,
    retry_count int default 0,
    job_id uuid,
    tracking_id varchar(255),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    tenant_id uuid,
    category varchar(50),
    severity varchar(20) check (severity in ('info', 'warning', 'error', 'critical')),
    title text,
    message text,
    is_read boolean default false,
    is_resolved boolean default false,
    metadata jsonb,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table system_notifications (
    id uuid primary key default gen_random_uuid(),
    category varchar(50),
    severity varchar(20) check (severity in ('info', 'warning', 'error', 'critical')),
    title text,
    message text,
    is_resolved boolean default false,
    metadata jsonb,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table content_access_log (
    id uuid primary key default gen_random_uuid(),
    storage_key varchar(500),
    user_id uuid,
    tenant_id uuid,
    access_type varchar(50),
    ip_address inet,
    user_agent text,
    session_id varchar(255),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table content_access_audit (
    id uuid primary key default gen_random_uuid(),
    storage_key varchar(500),
    user_id uuid,
    tenant_id uuid,
    action varchar(50),
    ip_address inet,
    user_agent text,
    session_id varchar(255),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table content_retention_stats (
    id bigint generated always as identity primary key,
    tenant_id uuid,
    date date,
    total_objects int default 0,
    archived_objects int default 0,
    expired_objects int default 0,
    total_size_bytes bigint default 0,
    compressed_size_bytes bigint default 0,
    created timestamptz default now(),
    updated timestamptz default now(),
    unique (tenant_id, date)
);

create table content_search_index (
    id uuid primary key default gen_random_uuid(),
    storage_key varchar(500) unique,
    searchable_text text,
    keywords text[],
    subject_line varchar(500),
    sender_email varchar(254),
    recipient_email varchar(254),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table retention_policies (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid,
    content_type varchar(50),
    retention_days int,
    auto_archive boolean default false,
    auto_delete boolean default false,
    priority int default 100,
    is_active boolean default true,
    created timestamptz default now(),
    updated timestamptz default now(),
    unique (tenant_id, content_type)
);

create index idx_email_messages_tenant_id on email_messages (tenant_id);
create index idx_email_messages_campaign_id on email_messages (campaign_id);
create index idx_email_messages_status on email_messages (status);
create index idx_email_messages_created on email_messages (created);
create index idx_email_messages_email_account_id on email_messages (email_account_id);
create index idx_email_messages_parent_message_id on email_messages (parent_message_id);
create index idx_content_inbox_message_refs_tenant_id on content_inbox_message_refs (tenant_id);
create index idx_content_inbox_message_refs_campaign_id on content_inbox_message_refs (campaign_id);
create index idx_content_inbox_message_refs_status on content_inbox_message_refs (status);
create index idx_content_inbox_message_refs_created on content_inbox_message_refs (created);
create index idx_content_inbox_message_refs_email_account_id on content_inbox_message_refs (email_account_id);
create index idx_content_inbox_message_refs_parent_message_id on content_inbox_message_refs (parent_message_id);
create index idx_content_search_index_searchable_text on content_search_index
using gin (to_tsvector('english', searchable_text));
create index idx_content_search_index_keywords on content_search_index using gin (keywords);

comment on table content_objects is 'the older twin of email_content; attachments hang on this one';
comment on table content_inbox_message_refs is 'the older twin of email_messages, mostly inbound; some storage_keys stand in both';
comment on column email_messages.parent_message_id is 'storage_key of the message replied to; not enforced, some point at nothing';
comment on column content_inbox_message_refs.parent_message_id is 'storage_key in either message table; not enforced';

grant usage on schema public to penguin_app;
grant select, insert, update, delete on all tables in schema public to penguin_app;
grant usage on all sequences in schema public to penguin_app;
