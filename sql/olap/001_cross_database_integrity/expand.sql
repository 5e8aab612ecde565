-- olap, expand: which ids of other databases this one holds is written down where everybody looks, in the catalogue.

SELECT rollout.document_reference(documented.relation::regclass, documented.column_name, documented.lines)
FROM (VALUES
    ('public.billing_analytics', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.billing_analytics', 'subscription_id', ARRAY['subscriptions(id) from subscription_id within tenant_id = tenant_id']),
    ('public.campaign_analytics', 'campaign_id', ARRAY['campaigns(id) from campaign_id within company_id = company_id']),
    ('public.campaign_analytics', 'company_id', ARRAY['companies(id) from company_id']),
    ('public.mailbox_analytics', 'mailbox_id', ARRAY['email_accounts(id) from mailbox_id']),
    ('public.mailbox_analytics', 'company_id', ARRAY['companies(id) from company_id']),
    ('public.lead_analytics', 'lead_id', ARRAY['leads(id) from lead_id']),
    ('public.lead_analytics', 'campaign_id', ARRAY['campaigns(id) from campaign_id']),
    ('public.warmup_analytics', 'company_id', ARRAY['companies(id) from company_id']),
    ('public.sequence_step_analytics', 'step_id', ARRAY['campaign_sequence_steps(id) from step_id within campaign_id = campaign_id']),
    ('public.sequence_step_analytics', 'campaign_id', ARRAY['campaigns(id) from campaign_id']),
    ('public.admin_audit_log', 'tenant_id', ARRAY['tenants(id) from tenant_id']),
    ('public.admin_system_events', 'tenant_id', ARRAY['tenants(id) from tenant_id'])
) AS documented (relation, column_name, lines);
