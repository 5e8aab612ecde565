-- fill email_content: contents
insert into email_content (
    storage_key, tenant_id, content_text, content_html, headers, raw_size_bytes, compressed_size_bytes, content_hash, compression_algorithm, created
)
select
    pg_temp.storage_key(n), pg_temp.id('tenant', tenant), body.text, body.html, jsonb_build_object('message-id', '<' || n || '@mail.example>'),
    octet_length(body.text) + coalesce(octet_length(body.html), 0), octet_length(body.text) * 2 / 3 + coalesce(octet_length(body.html), 0) / 4,
    md5(body.text || coalesce(body.html, '')), 'zstd', pg_temp.at(21, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.thread_tenant(n) as tenant) as of_thread
cross join lateral (
    select pg_temp.plain(n) as text, case when pg_temp.is_newsletter(n) then pg_temp.newsletter(n, tenant) end as html offset 0
) as body
on conflict do nothing

-- fill content_objects: content_objects
insert into content_objects (storage_key, tenant_id, content_text, raw_size_bytes, compressed_size_bytes, content_hash, compression_algorithm, created)
select
    pg_temp.storage_key(n), pg_temp.id('tenant', pg_temp.thread_tenant(n)), 'Message ' || n || ' with attachments', 32, 32,
    md5('Message ' || n || ' with attachments'), 'none', pg_temp.at(21, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as i
cross join lateral (select i * %(attachment_every)s as n) as m
on conflict do nothing

-- Every message with an object has one attachment, every third has two.
-- fill attachments: content_objects
insert into attachments (
    id, parent_storage_key, filename, original_filename, mime_type, size_bytes, compressed_size_bytes, content, storage_disposition,
    content_hash, compression_algorithm, is_scanned, virus_scan_result, created
)
select
    pg_temp.id('attachment', n * 10 + k), pg_temp.storage_key(n), 'file-' || n || '-' || k || '.pdf', 'Offer ' || n || '.pdf', 'application/pdf',
    octet_length(file.bytes), octet_length(file.bytes), file.bytes, case when k = 2 then 'inline' else 'attachment' end,
    encode(sha256(file.bytes), 'hex'), 'none', true, 'clean', pg_temp.at(21, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as i
cross join lateral (select i * %(attachment_every)s as n) as m
cross join lateral generate_series(1, case when mod(i, 3) = 0 then 2 else 1 end) as k
cross join lateral (select decode(repeat(md5(n || ':' || k), 4 + pg_temp.pick(23, n, 60)::int), 'hex') as bytes) as file
on conflict do nothing

-- fill email_messages: email_messages
insert into email_messages (
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id,
    direction, message_type, from_email, to_email, subject, status, processed, created, updated
)
select
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id,
    direction, message_type, from_email, to_email, subject, status, processed, created, updated
from pg_temp.messages(%(low)s::bigint, %(high)s::bigint)
on conflict do nothing

-- The keys that stand in both tables come first; of those every second row differs from its twin.
-- fill content_inbox_message_refs: inbox_refs
insert into content_inbox_message_refs (
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id,
    direction, message_type, from_email, to_email, subject, status, processed, created, updated
)
select
    storage_key, tenant_id, email_account_id, campaign_id, lead_id, parent_message_id, direction, message_type, from_email, to_email,
    case when twin and mod(n, 6) = 0 then 'Re: ' || subject else subject end,
    case when twin and mod(n, 2) = 0 then case status when 'opened' then 'replied' else 'opened' end else status end,
    case when twin and mod(n, 2) = 0 then processed + interval '1 minute' else processed end,
    created,
    case when twin and mod(n, 2) = 0 then updated + interval '1 minute' else updated end
from (
    select m.*, n < %(email_messages)s as twin
    from pg_temp.messages(%(first_ref)s + %(low)s::bigint, %(first_ref)s + %(high)s::bigint) as m
) as refs
on conflict do nothing

-- fill transactional_emails: transactional_emails
insert into transactional_emails (
    id, user_id, tenant_id, type, payload, recipient_email, subject, status, queued, sent, retry_count, tracking_id, created, updated
)
select
    pg_temp.id('transactional', n), pg_temp.id('user', mod(n, %(users)s)), pg_temp.id('tenant', mod(n, %(tenants)s)), 'password-reset', '{}',
    'user' || n || '@tenants.example', 'Reset your password', (array['sent', 'delivered', 'delivered', 'bounced'])[1 + pg_temp.pick(31, n, 4)],
    pg_temp.at(32, n), pg_temp.at(32, n) + interval '2 seconds', 0, 'trk-' || n, pg_temp.at(32, n), pg_temp.at(32, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill notifications: users
insert into notifications (id, user_id, tenant_id, category, severity, title, message, is_read, metadata, created, updated)
select
    pg_temp.id('notification', n), pg_temp.id('user', n), pg_temp.id('tenant', mod(n, %(tenants)s)), 'campaign',
    (array['info', 'info', 'warning', 'error'])[1 + pg_temp.pick(33, n, 4)], 'Campaign finished', 'A campaign of yours has finished.',
    mod(n, 2) = 0, '{}', pg_temp.at(34, n), pg_temp.at(34, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill system_notifications: staff
insert into system_notifications (id, category, severity, title, message, is_resolved, metadata, created, updated)
select pg_temp.id('system-notification', n), 'storage', 'warning', 'Disk at 70 percent', 'Content storage grows.', true, '{}', pg_temp.at(35, n), pg_temp.at(35, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill content_access_log: transactional_emails
insert into content_access_log (id, storage_key, user_id, tenant_id, access_type, ip_address, session_id, created, updated)
select
    pg_temp.id('access', n), pg_temp.storage_key(m.message), pg_temp.id('user', pg_temp.thread_tenant(m.message)), pg_temp.id('tenant', pg_temp.thread_tenant(m.message)),
    'read', inet '203.0.113.1', 'session-' || n, pg_temp.at(36, n), pg_temp.at(36, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(37, n, %(contents)s) as message) as m
on conflict do nothing

-- fill content_access_audit: users
insert into content_access_audit (id, storage_key, user_id, tenant_id, action, ip_address, session_id, created, updated)
select
    pg_temp.id('access-audit', n), pg_temp.storage_key(m.message), pg_temp.id('user', pg_temp.thread_tenant(m.message)), pg_temp.id('tenant', pg_temp.thread_tenant(m.message)),
    'export', inet '203.0.113.1', 'session-' || n, pg_temp.at(38, n), pg_temp.at(38, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
cross join lateral (select pg_temp.pick(39, n, %(contents)s) as message) as m
on conflict do nothing

-- fill content_retention_stats: tenants
insert into content_retention_stats (id, tenant_id, date, total_objects, total_size_bytes, compressed_size_bytes, created, updated)
overriding system value
select
    n + 1, pg_temp.id('tenant', n), date '2026-10-31', 1000 + pg_temp.pick(40, n, 1000), 200000, 100000,
    timestamptz '2026-10-31 00:00:00+00', timestamptz '2026-10-31 00:00:00+00'
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing

-- fill content_search_index: search_entries
insert into content_search_index (id, storage_key, searchable_text, keywords, subject_line, sender_email, created, updated)
select
    pg_temp.id('search', i), pg_temp.storage_key(n), 'the plan we spoke about ' || n, array['plan', 'k' || mod(n, 97)], 'About your plan ' || mod(n, %(threads)s),
    'sender@mail.example', pg_temp.at(21, n), pg_temp.at(21, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as i
cross join lateral (select i * %(search_every)s as n) as m
on conflict do nothing

-- fill retention_policies: tenants
insert into retention_policies (id, tenant_id, content_type, retention_days, auto_archive, created, updated)
select pg_temp.id('retention', n), pg_temp.id('tenant', n), 'email', 2555, true, pg_temp.at(1, n), pg_temp.at(1, n)
from generate_series(%(low)s::bigint, %(high)s::bigint) as n
on conflict do nothing
