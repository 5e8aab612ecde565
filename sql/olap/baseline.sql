-- The olap tier as found. Applied once, on an empty database, in one transaction, by the role that is to own it.
-- Ids of other tiers are text here, and the only timestamp of the analytics tables is updated.

create table billing_analytics (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    subscription_id text,
    emails_sent int default 0,
    mailboxes_used int default 0,
    domains_used int default 0,
    campaigns_used int default 0,
    leads_used int default 0,
    warmups_active int default 0,
    period_start timestamptz not null,
    period_end timestamptz not null,
    updated timestamptz default now(),
    unique (tenant_id, period_start, period_end)
);

create table campaign_analytics (
    id bigint generated always as identity primary key,
    campaign_id text not null,
    company_id text not null,
    sent int default 0,
    delivered int default 0,
    opened_tracked int default 0,
    clicked_tracked int default 0,
    replied int default 0,
    bounced int default 0,
    unsubscribed int default 0,
    spam_complaints int default 0,
    status text,
    completed_leads int default 0,
    billing_id bigint references billing_analytics (id),
    updated timestamptz default now()
);

create table mailbox_analytics (
    id bigint generated always as identity primary key,
    mailbox_id text not null,
    company_id text not null,
    sent int default 0,
    delivered int default 0,
    opened_tracked int default 0,
    clicked_tracked int default 0,
    replied int default 0,
    bounced int default 0,
    unsubscribed int default 0,
    spam_complaints int default 0,
    status text,
    billing_id bigint references billing_analytics (id),
    updated timestamptz default now()
);

create table lead_analytics (
    id bigint generated always as identity primary key,
    lead_id text not null,
    campaign_id text not null,
    sent int default 0,
    delivered int default 0,
    opened_tracked int default 0,
    clicked_tracked int default 0,
    replied int default 0,
    bounced int default 0,
    unsubscribed int default 0,
    spam_complaints int default 0,
    status text,
    billing_id bigint references billing_analytics (id),
    updated timestamptz default now()
);

create table warmup_analytics (
    id bigint generated always as identity primary key,
    warmup_id text not null,
    company_id text not null,
    sent int default 0,
    delivered int default 0,
    opened_tracked int default 0,
    clicked_tracked int default 0,
    replied int default 0,
    bounced int default 0,
    unsubscribed int default 0,
    spam_complaints int default 0,
    status text,
    billing_id bigint references billing_analytics (id),
    updated timestamptz default now()
);

create table sequence_step_analytics (
    id bigint generated always as identity primary key,
    step_id text not null,
    campaign_id text not null,
    sent int default 0,
    delivered int default 0,
    opened_tracked int default 0,
    clicked_tracked int default 0,
    replied int default 0,
    bounced int default 0,
    unsubscribed int default 0,
    spam_complaints int default 0,
    status text,
    billing_id bigint references billing_analytics (id),
    updated timestamptz default now()
);

create table admin_audit_log (
    id bigint generated always as identity primary key,
    creation_time timestamptz default now(),
    admin_user_id text not null,
    action text not null,
    resource_type text not null,
    resource_id text not null,
    tenant_id text not null,
    old_values jsonb,
    new_values jsonb,
    ip_address text,
    user_agent text,
    "timestamp" bigint,
    notes text,
    metadata jsonb,
    updated timestamptz default now()
);

create table admin_system_events (
    id bigint generated always as identity primary key,
    creation_time timestamptz default now(),
    event_type text not null,
    severity text not null,
    message text not null,
    details jsonb,
    admin_user_id text,
    tenant_id text,
    session_id text,
    session_ip_address text,
    resolved timestamptz,
    resolution text,
    updated timestamptz default now()
);

create index idx_campaign_analytics_campaign_id on campaign_analytics (campaign_id);
create index idx_campaign_analytics_company_id on campaign_analytics (company_id);
create index idx_campaign_analytics_status on campaign_analytics (status);
create index idx_campaign_analytics_billing_id on campaign_analytics (billing_id);
create index idx_mailbox_analytics_mailbox_id on mailbox_analytics (mailbox_id);
create index idx_mailbox_analytics_company_id on mailbox_analytics (company_id);
create index idx_mailbox_analytics_status on mailbox_analytics (status);
create index idx_mailbox_analytics_billing_id on mailbox_analytics (billing_id);
create index idx_lead_analytics_lead_id on lead_analytics (lead_id);
create index idx_lead_analytics_campaign_id on lead_analytics (campaign_id);
create index idx_lead_analytics_status on lead_analytics (status);
create index idx_lead_analytics_billing_id on lead_analytics (billing_id);
create index idx_warmup_analytics_warmup_id on warmup_analytics (warmup_id);
create index idx_warmup_analytics_company_id on warmup_analytics (company_id);
create index idx_warmup_analytics_status on warmup_analytics (status);
create index idx_warmup_analytics_billing_id on warmup_analytics (billing_id);
create index idx_sequence_step_analytics_step_id on sequence_step_analytics (step_id);
create index idx_sequence_step_analytics_campaign_id on sequence_step_analytics (campaign_id);
create index idx_sequence_step_analytics_status on sequence_step_analytics (status);
create index idx_sequence_step_analytics_billing_id on sequence_step_analytics (billing_id);
create index idx_admin_audit_log_tenant_id on admin_audit_log (tenant_id);
create index idx_admin_system_events_tenant_id on admin_system_events (tenant_id);

comment on column admin_audit_log."timestamp" is 'milliseconds since 1970-01-01 UTC';
comment on table campaign_analytics is 'no tenant_id: the tenant is known through billing_id or, in oltp, through the campaign';

grant usage on schema public to penguin_app;
grant select, insert, update, delete on all tables in schema public to penguin_app;
grant usage on all sequences in schema public to penguin_app;
-- Analysts read the figures of all tenants and change none.
grant usage on schema public to penguin_analyst;
grant select on all tables in schema public to penguin_analyst;
