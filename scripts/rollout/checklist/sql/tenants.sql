-- Messages of several tenants to ask the application for: of each of a few tenants, its newest ones.
SELECT m.storage_key, m.tenant_id
FROM (SELECT DISTINCT tenant_id FROM public.email_messages LIMIT 5) AS t
CROSS JOIN LATERAL (
    SELECT storage_key, tenant_id FROM public.email_messages AS e WHERE e.tenant_id = t.tenant_id LIMIT 10
) AS m
LIMIT %(limit)s;
