-- One row a tenant and month, November 2023 to November 2026: four calendar years, the first and last of them partly.
-- fill billing_analytics: billing_periods
insert into billing_analytics (
    id, tenant_id, subscription_id, emails_sent, mailboxes_used, domains_used, campaigns_used, leads_used, warmups_active,
    period_start, period_end, updated
)
overriding system value
select
    n + 1, pg_temp.id('tenant', mod(n, %(tenants)s))::text, pg_temp.id('subscription', mod(n, %(tenants)s))::text,
    pg_temp.pick(60, n, 20000), 6, 2, pg_temp.pick(61, n, 20), pg_temp.pick(62, n, 200), pg_temp.pick(63, n, 6), p.period_start,
    (p.period_start at time zone 'UTC' + interval '1 month') at time zone 'UTC',
    (p.period_start at time zone 'UTC' + interval '1 month') at time zone 'UTC'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (
    select (timestamp '2023-11-01' + make_interval(months => (n / %(tenants)s)::int)) at time zone 'UTC' as period_start
) as p
on conflict do nothing

-- One row a campaign of oltp, and a few for campaigns that oltp no longer has (the highest numbers).
-- fill campaign_analytics: campaign_analytics
insert into campaign_analytics (
    id, campaign_id, company_id, sent, delivered, opened_tracked, clicked_tracked, replied, bounced, unsubscribed, spam_complaints,
    status, completed_leads, billing_id, updated
)
overriding system value
select
    n + 1, pg_temp.id('campaign', n)::text, pg_temp.id('company', mod(n, %(companies)s))::text,
    c.sent, c.sent * 95 / 100, c.sent * 40 / 100, c.sent * 9 / 100, c.sent * 4 / 100, c.sent * 5 / 100, c.sent / 100, c.sent / 1000,
    pg_temp.campaign_status(n), c.sent * 80 / 100, pg_temp.child_of(mod(n, %(tenants)s), %(months)s, 65, n) + 1, pg_temp.at(66, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select case when pg_temp.campaign_status(n) in ('draft', 'scheduled') then 0 else pg_temp.pick(64, n, 5000) end as sent) as c
on conflict do nothing

-- fill mailbox_analytics: email_accounts
insert into mailbox_analytics (id, mailbox_id, company_id, sent, delivered, opened_tracked, replied, bounced, status, billing_id, updated)
overriding system value
select
    n + 1, pg_temp.id('email-account', n)::text, pg_temp.id('company', mod(n, %(companies)s))::text,
    c.sent, c.sent * 95 / 100, c.sent * 40 / 100, c.sent * 4 / 100, c.sent * 5 / 100, 'active',
    pg_temp.child_of(mod(n, %(tenants)s), %(months)s, 68, n) + 1, pg_temp.at(69, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(67, n, 9000) as sent) as c
on conflict do nothing

-- fill lead_analytics: leads
insert into lead_analytics (id, lead_id, campaign_id, sent, delivered, opened_tracked, clicked_tracked, replied, status, billing_id, updated)
overriding system value
select
    n + 1, pg_temp.id('lead', n)::text, pg_temp.id('campaign', pg_temp.child_of(mod(n, %(tenants)s), %(campaigns_each)s, 70, n))::text,
    c.sent, c.sent, c.sent / 2, c.sent / 4, c.sent / 5, 'active',
    pg_temp.child_of(mod(n, %(tenants)s), %(months)s, 72, n) + 1, pg_temp.at(73, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(71, n, 12) as sent) as c
on conflict do nothing

-- fill warmup_analytics: email_accounts
insert into warmup_analytics (id, warmup_id, company_id, sent, delivered, replied, spam_complaints, status, billing_id, updated)
overriding system value
select
    n + 1, pg_temp.id('warmup', n)::text, pg_temp.id('company', mod(n, %(companies)s))::text, c.sent, c.sent, c.sent / 2, c.sent / 100, 'active',
    pg_temp.child_of(mod(n, %(tenants)s), %(months)s, 75, n) + 1, pg_temp.at(76, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(74, n, 400) as sent) as c
on conflict do nothing

-- fill sequence_step_analytics: sequence_steps
insert into sequence_step_analytics (id, step_id, campaign_id, sent, delivered, opened_tracked, replied, status, billing_id, updated)
overriding system value
select
    n + 1, pg_temp.id('step', n)::text, pg_temp.id('campaign', mod(n, %(campaigns)s))::text, c.sent, c.sent * 95 / 100, c.sent * 40 / 100,
    c.sent * 4 / 100, 'active', pg_temp.child_of(mod(n, %(tenants)s), %(months)s, 78, n) + 1, pg_temp.at(79, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(77, n, 1700) as sent) as c
on conflict do nothing

-- fill admin_audit_log: audit_entries
insert into admin_audit_log (
    id, creation_time, admin_user_id, action, resource_type, resource_id, tenant_id, old_values, new_values, ip_address, "timestamp", updated
)
overriding system value
select
    n + 1, pg_temp.at(80, n), pg_temp.id('user', mod(n, %(staff)s))::text, 'update', 'subscription',
    pg_temp.id('subscription', mod(n, %(tenants)s))::text, pg_temp.id('tenant', mod(n, %(tenants)s))::text,
    '{"status": "active"}', '{"status": "past_due"}', '203.0.113.9', (extract(epoch from pg_temp.at(80, n)) * 1000)::bigint, pg_temp.at(80, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill admin_system_events: users
insert into admin_system_events (id, creation_time, event_type, severity, message, details, tenant_id, resolved, resolution, updated)
overriding system value
select
    n + 1, pg_temp.at(81, n), 'quota', (array['info', 'warning', 'error'])[1 + pg_temp.pick(82, n, 3)], 'quota reached', '{}',
    pg_temp.id('tenant', mod(n, %(tenants)s))::text, pg_temp.at(81, n) + interval '1 day', 'raised', pg_temp.at(81, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing
