-- fill tenants: tenants
insert into tenants (id, name, compute_id, created, updated)
select pg_temp.id('tenant', n), 'Tenant ' || n, pg_temp.id('compute', n), pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill users: users
insert into users (id, name, family_name, given_name, email, email_verified, created, updated)
select
    pg_temp.id('user', n), 'User ' || n, n::text, 'User', 'user' || n || '@tenants.example',
    case when mod(n, 10) > 0 then pg_temp.at(2, n) end, pg_temp.at(2, n), pg_temp.at(2, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill tenant_users: users
insert into tenant_users (tenant_id, user_id, roles, email, created, updated)
select
    pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.id('user', n),
    case when n < %(tenants)s then array['owner'] else array['member'] end,
    'user' || n || '@tenants.example', pg_temp.at(2, n), pg_temp.at(2, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill user_preferences: users
insert into user_preferences (user_id, preferences, created, updated)
select pg_temp.id('user', n), jsonb_build_object('locale', 'en', 'page_size', 25 * (1 + pg_temp.pick(3, n, 4))), pg_temp.at(2, n), pg_temp.at(2, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill tenant_config: tenants
insert into tenant_config (tenant_id, config, created, updated)
select pg_temp.id('tenant', n), '{"timezone": "UTC"}', pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill tenant_policies: tenants
insert into tenant_policies (id, tenant_id, name, policy, created, updated)
select
    pg_temp.id('tenant-policy', n), pg_temp.id('tenant', n), 'sending-limits',
    jsonb_build_object('daily_max', 1000 * (1 + pg_temp.pick(4, n, 9))), pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill companies: companies
insert into companies (id, tenant_id, name, workspace_name, status, created, updated)
select
    pg_temp.id('company', n), pg_temp.id('tenant', mod(n, %(tenants)s)), 'Company ' || n, 'workspace-' || n,
    case when mod(n, 25) = 24 then 'inactive' else 'active' end, pg_temp.at(5, n), pg_temp.at(5, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill domains: domains
insert into domains (id, tenant_id, company_id, domain, verification_status, dns_records, is_primary, verified, created, updated)
select
    pg_temp.id('domain', n), pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.id('company', n), 'mail' || n || '.example',
    case when mod(n, 20) = 19 then 'pending' else 'verified' end, '{"spf": "v=spf1 -all"}', true,
    case when mod(n, 20) < 19 then pg_temp.at(6, n) end, pg_temp.at(6, n), pg_temp.at(6, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill email_accounts: email_accounts
insert into email_accounts (id, tenant_id, domain_id, email, vault_key_path, status, last_warmed, daily_count, created, updated)
select
    pg_temp.id('email-account', n), pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.id('domain', mod(n, %(domains)s)),
    pg_temp.account_email(n), 'accounts/' || pg_temp.id('email-account', n), case when mod(n, 30) = 29 then 'paused' else 'active' end,
    pg_temp.at(8, n), pg_temp.pick(9, n, 200), pg_temp.at(7, n), pg_temp.at(7, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill leads: leads
insert into leads (id, tenant_id, email, name, company, status, updated)
select
    pg_temp.id('lead', n), pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.lead_email(n), 'Lead ' || n,
    'Prospect ' || pg_temp.pick(11, n, 500),
    (array['active', 'active', 'active', 'active', 'replied', 'bounced', 'unsubscribed'])[1 + pg_temp.pick(12, n, 7)], pg_temp.at(13, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill templates: templates
insert into templates (id, tenant_id, name, subject, content, is_started, created, updated)
select
    pg_temp.id('template', n), pg_temp.id('tenant', mod(n, %(tenants)s)), 'Template ' || n, 'About your plan ' || n,
    'Hello {{name}}, ' || repeat('a word about your plan. ', 1 + pg_temp.pick(14, n, 10)::int), mod(n, 3) > 0, pg_temp.at(15, n), pg_temp.at(15, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill folders: tenants
insert into folders (id, tenant_id, name, created, updated)
overriding system value
select n + 1, pg_temp.id('tenant', n), 'Outreach', pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill template_folders: templates
insert into template_folders (id, template_id, folder_id, created, updated)
overriding system value
select n + 1, pg_temp.id('template', n), mod(n, %(tenants)s) + 1, pg_temp.at(15, n), pg_temp.at(15, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill tags: tenants
insert into tags (id, value, name, tenant_id, is_default, created, updated)
overriding system value
select n + 1, 'warm', 'Warm', pg_temp.id('tenant', n), true, pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill template_tags: templates
insert into template_tags (id, template_id, tag_id, tenant_id, created, updated)
overriding system value
select n + 1, pg_temp.id('template', n), mod(n, %(tenants)s) + 1, pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.at(15, n), pg_temp.at(15, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill campaigns: campaigns
insert into campaigns (id, tenant_id, company_id, name, description, status, scheduled, completed, created, updated)
select
    pg_temp.id('campaign', n), pg_temp.id('tenant', mod(n, %(tenants)s)), pg_temp.id('company', mod(n, %(companies)s)),
    'Campaign ' || n, 'Seeded campaign ' || n, s.status,
    case when s.status <> 'draft' then pg_temp.at(16, n) end,
    case when s.status = 'completed' then pg_temp.at(16, n) + interval '14 days' end, pg_temp.at(16, n), pg_temp.at(16, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.campaign_status(n) as status) as s
on conflict do nothing

-- fill campaign_sequence_steps: sequence_steps
insert into campaign_sequence_steps (
    id, campaign_id, step_order, step_type, email_account_id, template_id, wait_duration_hours, executed_count, created, updated
)
select
    pg_temp.id('step', n), pg_temp.id('campaign', c.campaign), n / %(campaigns)s + 1, case when n / %(campaigns)s = 1 then 'wait' else 'email' end,
    pg_temp.id('email-account', mod(c.campaign, %(email_accounts)s)), pg_temp.id('template', mod(c.campaign, %(templates)s)),
    case when n / %(campaigns)s = 1 then 48 end, pg_temp.pick(17, n, 500), pg_temp.at(16, c.campaign), pg_temp.at(16, c.campaign)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select mod(n, %(campaigns)s) as campaign) as c
on conflict do nothing

-- fill plans: plans
insert into plans (
    id, name, slug, max_emails_per_month, max_mailboxes, max_domains, max_campaigns, max_leads, max_warmups, price_monthly, price_yearly, created, updated
)
select
    pg_temp.id('plan', n), 'Plan ' || n, 'plan-' || n, 10000 * (n + 1), 5 * (n + 1), 2 * (n + 1), 20 * (n + 1), 5000 * (n + 1), 5 * (n + 1),
    2900 * (n + 1), 29000 * (n + 1), timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill subscriptions: tenants
insert into subscriptions (id, tenant_id, plan_id, status, current_period_start, current_period_end, stripe_subscription_id, created, updated)
select
    pg_temp.id('subscription', n), pg_temp.id('tenant', n), pg_temp.id('plan', mod(n, %(plans)s)),
    case when mod(n, 15) = 14 then 'past_due' else 'active' end,
    timestamptz '2026-11-01 00:00:00+00', timestamptz '2026-12-01 00:00:00+00', 'sub_' || n, pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill subscription_addons: tenants
insert into subscription_addons (id, subscription_id, addon_type, price_monthly, created, updated)
select pg_temp.id('addon', n), pg_temp.id('subscription', n), 'extra-mailboxes', 900, pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
where mod(n, 5) = 0
on conflict do nothing

-- fill payments: payments
insert into payments (id, subscription_id, amount, currency, status, created, updated)
select
    pg_temp.id('payment', n), pg_temp.id('subscription', mod(n, %(tenants)s)), 29.00 * (1 + mod(mod(n, %(tenants)s), %(plans)s)), 'EUR',
    case when mod(n, 40) = 39 then 'failed' else 'paid' end, pg_temp.at(18, n), pg_temp.at(18, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill staff_roles: staff
insert into staff_roles (id, name, created, updated)
overriding system value
select n + 1, 'staff-role-' || n, timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill staff_members: staff
insert into staff_members (id, user_id, role_id, created, updated)
overriding system value
select n + 1, pg_temp.id('user', n), n + 1, timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill permissions: staff
insert into permissions (id, name, created, updated)
overriding system value
select n + 1, 'permission-' || n, timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill staff_role_permissions: staff
insert into staff_role_permissions (role_id, permission_id, created, updated)
select n + 1, n + 1, timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill vps_instances: staff
insert into vps_instances (id, provider, provider_instance_id, hostname, region, ip_address, created, updated)
select
    pg_temp.id('vps', n), 'provider', 'vps-' || n, 'vps' || n || '.example', 'eu', '192.0.2.' || n + 1,
    timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill smtp_ip_addresses: tenants
insert into smtp_ip_addresses (id, vps_instance_id, ip_address, status, reputation, warmup_state, warmup_day, created, updated)
select
    pg_temp.id('smtp-ip', n), pg_temp.id('vps', mod(n, %(staff)s)), '198.51.' || n / 256 || '.' || mod(n, 256),
    case when mod(n, 10) = 9 then 'warming' else 'active' end, 'good', 'completed', 30, pg_temp.at(19, n), pg_temp.at(19, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill domain_ip_assignments: domains
insert into domain_ip_assignments (id, domain_id, smtp_ip_address_id, is_primary, created, updated)
select pg_temp.id('domain-ip', n), pg_temp.id('domain', n), pg_temp.id('smtp-ip', mod(n, %(tenants)s)), true, pg_temp.at(6, n), pg_temp.at(6, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill system_config: staff
insert into system_config (key, value, created, updated)
select 'limit-' || n, to_jsonb(100 * (n + 1)), timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill feature_flags: staff
insert into feature_flags (id, name, is_enabled, rollout_percentage, created, updated)
select
    pg_temp.id('flag', n), 'flag-' || n, mod(n, 2) = 0, 50 * mod(n, 3),
    timestamptz '2023-11-01 00:00:00+00', timestamptz '2023-11-01 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing
