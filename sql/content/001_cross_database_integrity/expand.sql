-- content, expand: which ids of other databases this one holds is written down where everybody looks, in the catalogue.

-- Writes that were allowed although nobody could say whether what they refer to exists; in the writer's transaction.
CREATE TABLE IF NOT EXISTS rollout.unvalidated_writes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    relation text NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    tenant_id text NOT NULL
);
COMMENT ON TABLE rollout.unvalidated_writes IS 'allowed and recorded while oltp was away; the next scan says which of them are orphans';
GRANT USAGE ON SCHEMA rollout TO penguin_app;
GRANT INSERT ON rollout.unvalidated_writes TO penguin_app;

SELECT rollout.document_reference(documented.relation::regclass, documented.column_name, documented.lines)
FROM (VALUES
    ('public.email_messages', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.email_messages', 'email_account_id', ARRAY['email_accounts(id) from email_account_id within tenant_id = tenant_id']),
    ('public.email_messages', 'campaign_id', ARRAY['campaigns(id) from campaign_id within tenant_id = tenant_id']),
    ('public.email_messages', 'lead_id', ARRAY['leads(id) from lead_id within tenant_id = tenant_id']),
    ('public.content_inbox_message_refs', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.content_inbox_message_refs', 'email_account_id', ARRAY['email_accounts(id) from email_account_id within tenant_id = tenant_id']),
    ('public.content_inbox_message_refs', 'campaign_id', ARRAY['campaigns(id) from campaign_id within tenant_id = tenant_id']),
    ('public.content_inbox_message_refs', 'lead_id', ARRAY['leads(id) from lead_id within tenant_id = tenant_id']),
    ('public.email_content', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.content_objects', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.transactional_emails', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.notifications', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.content_access_log', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.content_access_audit', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.content_retention_stats', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.retention_policies', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.transactional_emails', 'user_id', ARRAY['users(id) from user_id']),
    ('public.notifications', 'user_id', ARRAY['users(id) from user_id']),
    ('public.content_access_log', 'user_id', ARRAY['users(id) from user_id']),
    ('public.content_access_audit', 'user_id', ARRAY['users(id) from user_id'])
) AS documented (relation, column_name, lines);
