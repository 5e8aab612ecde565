-- The oltp tier as found. Applied once, on an empty database, in one transaction, by the role that is to own it.
-- Roles come from elsewhere: the connecting role owns everything, penguin_app is the application.

create table tenants (
    id uuid primary key default gen_random_uuid(),
    name text,
    compute_id uuid,
    deleted timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table users (
    id uuid primary key default gen_random_uuid(),
    name text,
    family_name text,
    given_name text,
    email text,
    picture text,
    email_verified timestamptz,
    deleted timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table tenant_users (
    tenant_id uuid references tenants (id),
    user_id uuid references users (id),
    roles text[] default '{}',
    email text,
    deleted timestamptz,
    created timestamptz default now(),
    updated timestamptz default now(),
    primary key (tenant_id, user_id)
);

create table companies (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid references tenants (id),
    name varchar(100) not null,
    workspace_name varchar(255) unique,
    logo_url text,
    status varchar(20) default 'active',
    created timestamptz default now(),
    updated timestamptz default now()
);

create table domains (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    company_id uuid references companies (id),
    domain varchar(253) not null,
    verification_status varchar(50) default 'pending',
    dns_records jsonb,
    is_primary boolean default false,
    verified timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table email_accounts (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    domain_id uuid references domains (id),
    email varchar(255) not null,
    provider varchar(50) default 'mailu',
    vault_key_path varchar(500),
    imap_settings jsonb,
    smtp_settings jsonb,
    status varchar(50) default 'active',
    last_warmed timestamptz,
    daily_count int default 0,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table leads (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    email varchar(255) not null,
    name varchar(200),
    company varchar(200),
    status varchar(20) default 'active',
    updated timestamptz default now(),
    unique (tenant_id, email)
);

create table templates (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    name varchar(100) not null,
    subject varchar(255),
    content text,
    is_started boolean default false,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table folders (
    id bigint generated always as identity primary key,
    tenant_id uuid not null,
    name varchar(100) not null,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table template_folders (
    id bigint generated always as identity primary key,
    template_id uuid references templates (id),
    folder_id bigint references folders (id),
    created timestamptz default now(),
    updated timestamptz default now(),
    unique (template_id, folder_id)
);

create table tags (
    id bigint generated always as identity primary key,
    value text,
    description text,
    name text,
    tenant_id uuid,
    is_default boolean default false,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table template_tags (
    id bigint generated always as identity primary key,
    template_id uuid references templates (id),
    tag_id bigint references tags (id),
    tenant_id uuid,
    created timestamptz default now(),
    updated timestamptz default now(),
    unique (template_id, tag_id)
);

create table campaigns (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid not null,
    company_id uuid references companies (id),
    name varchar(200) not null,
    description text,
    status varchar(50) check (status in ('draft', 'scheduled', 'sending', 'completed', 'paused')),
    scheduled timestamptz,
    completed timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table campaign_sequence_steps (
    id uuid primary key default gen_random_uuid(),
    campaign_id uuid references campaigns (id),
    step_order int not null,
    step_type varchar(50) check (step_type in ('email', 'wait', 'condition')),
    email_account_id uuid references email_accounts (id),
    template_id uuid references templates (id),
    subject_override text,
    from_name_override text,
    wait_duration_hours int,
    wait_until_date timestamptz,
    condition_type text,
    condition_value text,
    send_condition text,
    is_active boolean default true,
    executed_count int default 0,
    last_executed timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table plans (
    id uuid primary key default gen_random_uuid(),
    name varchar(100) not null,
    slug varchar(100) unique,
    max_emails_per_month int,
    max_mailboxes int,
    max_domains int,
    max_campaigns int,
    max_leads int,
    max_warmups int,
    price_monthly int,
    price_yearly int,
    is_active boolean default true,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table subscriptions (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid references tenants (id),
    plan_id uuid references plans (id),
    pending_plan_id uuid references plans (id),
    status varchar(50) check (status in ('active', 'past_due', 'canceled', 'unpaid')),
    current_period_start timestamptz,
    current_period_end timestamptz,
    stripe_subscription_id varchar(255),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table subscription_addons (
    id uuid primary key default gen_random_uuid(),
    subscription_id uuid references subscriptions (id),
    addon_type varchar(50) not null,
    quantity int default 1,
    price_monthly int,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table payments (
    id uuid primary key default gen_random_uuid(),
    subscription_id uuid references subscriptions (id),
    amount decimal(10, 2),
    currency varchar(3),
    status varchar(20),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table staff_roles (
    id int generated always as identity primary key,
    name varchar(100) not null unique,
    description text,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table staff_members (
    id int generated always as identity primary key,
    user_id uuid references users (id),
    role_id int references staff_roles (id),
    is_active boolean default true,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table permissions (
    id int generated always as identity primary key,
    name varchar(100) not null unique,
    description text,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table staff_role_permissions (
    role_id int references staff_roles (id),
    permission_id int references permissions (id),
    created timestamptz default now(),
    updated timestamptz default now(),
    primary key (role_id, permission_id)
);

create table vps_instances (
    id uuid primary key default gen_random_uuid(),
    provider varchar(50),
    provider_instance_id varchar(255),
    hostname varchar(253),
    region varchar(50),
    ip_address varchar(45),
    status varchar(50) default 'active' check (status in ('provisioning', 'active', 'suspended', 'terminated')),
    created timestamptz default now(),
    updated timestamptz default now()
);

create table smtp_ip_addresses (
    id uuid primary key default gen_random_uuid(),
    vps_instance_id uuid references vps_instances (id),
    provider_ip_id varchar(255),
    ip_address varchar(45) not null,
    status varchar(50) default 'warming' check (status in ('warming', 'active', 'blocked', 'retired')),
    reputation varchar(20) default 'neutral' check (reputation in ('good', 'neutral', 'poor')),
    warmup_state varchar(50) default 'not_started',
    warmup_day int default 0,
    warmup_started timestamptz,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table domain_ip_assignments (
    id uuid primary key default gen_random_uuid(),
    domain_id uuid references domains (id),
    smtp_ip_address_id uuid references smtp_ip_addresses (id),
    is_primary boolean default false,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table system_config (
    key varchar(100) primary key,
    value jsonb,
    description text,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table feature_flags (
    id uuid primary key default gen_random_uuid(),
    name varchar(100) not null unique,
    description text,
    is_enabled boolean default false,
    rollout_percentage int default 0,
    created timestamptz default now(),
    updated timestamptz default now()
);

create table user_preferences (
    user_id uuid primary key references users (id),
    preferences jsonb default '{}',
    created timestamptz default now(),
    updated timestamptz default now()
);

create table tenant_config (
    tenant_id uuid primary key references tenants (id),
    config jsonb default '{}',
    created timestamptz default now(),
    updated timestamptz default now()
);

create table tenant_policies (
    id uuid primary key default gen_random_uuid(),
    tenant_id uuid references tenants (id),
    name varchar(100) not null,
    policy jsonb default '{}',
    created timestamptz default now(),
    updated timestamptz default now(),
    unique (tenant_id, name)
);

create index idx_campaigns_tenant_id on campaigns (tenant_id);
create index idx_leads_tenant_id on leads (tenant_id);
create index idx_domains_tenant_id on domains (tenant_id);
create index idx_email_accounts_tenant_id on email_accounts (tenant_id);
create index idx_campaign_sequence_steps_campaign_id_step_order on campaign_sequence_steps (campaign_id, step_order);
create index idx_tenant_users_tenant_id on tenant_users (tenant_id);
create index idx_tenant_users_user_id on tenant_users (user_id);
create index idx_smtp_ip_addresses_status on smtp_ip_addresses (status);
create index idx_domain_ip_assignments_domain_id on domain_ip_assignments (domain_id);

-- Row level security as found is partial: six tables have it enabled, two have a policy that isolates tenants, and
-- even that one lets everything through while the session has not named its tenant.
alter table campaigns enable row level security;
alter table leads enable row level security;
alter table domains enable row level security;
alter table email_accounts enable row level security;
alter table templates enable row level security;
alter table companies enable row level security;

-- An unset setting reads as null, one that a finished transaction had SET LOCAL reads as ''.
create policy tenant_isolation on campaigns
using (coalesce(tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid, true));
create policy tenant_isolation on leads
using (coalesce(tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid, true));

-- The product works although four tables have no policy, so as found it reads them with rights that pass row security
-- by (the owner's). Here the application is not the owner and BYPASSRLS takes a superuser to grant, so the same fact is
-- stated as policies that restrict nothing. They are for penguin_app alone and are not tenant isolation: do not count
-- them as coverage.
create policy as_found_unrestricted on domains to penguin_app using (true);
create policy as_found_unrestricted on email_accounts to penguin_app using (true);
create policy as_found_unrestricted on templates to penguin_app using (true);
create policy as_found_unrestricted on companies to penguin_app using (true);
comment on policy as_found_unrestricted on domains is 'no isolation: stands for the owner''s rights used as found';
comment on policy as_found_unrestricted on email_accounts is 'no isolation: stands for the owner''s rights used as found';
comment on policy as_found_unrestricted on templates is 'no isolation: stands for the owner''s rights used as found';
comment on policy as_found_unrestricted on companies is 'no isolation: stands for the owner''s rights used as found';

comment on column leads.updated is 'as found, leads has no created';
comment on column plans.price_monthly is 'cents';
comment on column plans.price_yearly is 'cents';

grant usage on schema public to penguin_app;
grant select, insert, update, delete on all tables in schema public to penguin_app;
grant usage on all sequences in schema public to penguin_app;
