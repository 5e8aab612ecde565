-- What a scan of the references out of content is to find, counted from the formulas and not from a scan.
with every_message as (
    select storage_key, campaign_id, lead_id, email_account_id, parent_message_id, tenant_id from email_messages
    union all
    select storage_key, campaign_id, lead_id, email_account_id, parent_message_id, tenant_id from content_inbox_message_refs
),

thread as (select n from generate_series(0, %(threads)s::bigint - 1) as n)

select 'shared_keys', count(*) from email_messages inner join content_inbox_message_refs using (storage_key)
union all
select 'rows_with_lost_campaign', count(*) from every_message where campaign_id in (select pg_temp.id('lost-campaign', n) from thread)
union all
select 'rows_with_lost_lead', count(*) from every_message where lead_id in (select pg_temp.id('lost-lead', n) from thread)
union all
select 'rows_with_lost_email_account', count(*) from every_message where email_account_id in (select pg_temp.id('lost-email-account', n) from thread)
union all
select 'rows_with_campaign_of_another_tenant', count(*)
from every_message
where (tenant_id, campaign_id) in (
    select pg_temp.id('tenant', pg_temp.thread_tenant(n)), pg_temp.id('campaign', mod(pg_temp.thread_tenant(n) + 1, %(tenants)s))
    from thread where mod(n, 1000) = 17 and mod(n, 200) <> 7
)
union all
select 'rows_with_lost_parent', count(*) from every_message where parent_message_id like 'mail/____________________________________'
