-- The messages from one number to another as either table holds them: of those in email_messages one in four is inbound,
-- of those only in content_inbox_message_refs nine in ten. References into oltp are right but for a known share:
-- threads 7, 207, 407 ... name a campaign that does not exist, 11, 311 ... a lead, 13, 513 ... an email account,
-- and 17, 1017 ... a campaign of the next tenant. Message 42, 142 ... answers a message that does not exist.
create or replace function pg_temp.messages(low bigint, high bigint)
returns table (
    n bigint, storage_key text, tenant_id uuid, email_account_id uuid, campaign_id uuid, lead_id uuid, parent_message_id text,
    direction text, message_type text, from_email text, to_email text, subject text, status text,
    processed timestamptz, created timestamptz, updated timestamptz
)
stable language sql
begin atomic
    select
        m.n, pg_temp.storage_key(m.n), pg_temp.id('tenant', m.t),
        case when mod(m.thread, 500) = 13 then pg_temp.id('lost-email-account', m.thread) else pg_temp.id('email-account', m.account) end,
        case
            when mod(m.thread, 200) = 7 then pg_temp.id('lost-campaign', m.thread)
            when mod(m.thread, 1000) = 17 then pg_temp.id('campaign', mod(m.t + 1, {tenants}))
            else pg_temp.id('campaign', pg_temp.child_of(m.t, {campaigns_each}, 25, m.thread))
        end,
        case when mod(m.thread, 300) = 11 then pg_temp.id('lost-lead', m.thread) else pg_temp.id('lead', m.lead) end,
        case
            when mod(m.n, 100) = 42 then 'mail/' || pg_temp.id('lost-message', m.n)::text
            when m.n >= {threads} and pg_temp.pick(26, m.n, 5) < 4 then pg_temp.storage_key(m.n - {threads})
        end,
        case when m.inbound then 'inbound' else 'outbound' end,
        case when m.inbound then (array['email', 'email', 'email', 'bounce', 'auto_reply'])[1 + pg_temp.pick(27, m.n, 5)] else 'email' end,
        case when m.inbound then pg_temp.lead_email(m.lead) else pg_temp.account_email(m.account) end,
        case when m.inbound then pg_temp.account_email(m.account) else pg_temp.lead_email(m.lead) end,
        case when m.n >= {threads} then 'Re: ' else '' end || 'About your plan ' || m.thread::text,
        (array['sent', 'delivered', 'delivered', 'delivered', 'opened', 'replied', 'bounced', 'failed', 'queued'])[1 + pg_temp.pick(28, m.n, 9)],
        pg_temp.at(21, m.n) + interval '3 seconds', pg_temp.at(21, m.n), pg_temp.at(21, m.n) + interval '1 hour'
    from (
        select
            g.n, mod(g.n, {threads}) as thread, pg_temp.thread_tenant(g.n) as t,
            case when g.n < {email_messages} then pg_temp.pick(24, g.n, 4) = 0 else pg_temp.pick(24, g.n, 10) < 9 end as inbound,
            pg_temp.child_of(pg_temp.thread_tenant(g.n), {email_accounts_each}, 29, mod(g.n, {threads})) as account,
            pg_temp.child_of(pg_temp.thread_tenant(g.n), {leads_each}, 30, mod(g.n, {threads})) as lead
        from generate_series(low, high) as g (n)
    ) as m;
end;
