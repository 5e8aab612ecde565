-- queue, expand: which ids of other databases this one holds is written down where everybody looks, in the catalogue.

SELECT rollout.document_reference(documented.relation::regclass, documented.column_name, documented.lines)
FROM (VALUES
    ('public.jobs', 'payload', ARRAY[
        'tenants(id) from payload->>''tenant_id''',
        'campaigns(id) from payload->>''campaign_id'' within payload->>''tenant_id'' = tenant_id',
        'leads(id) from payload->>''lead_id'' within payload->>''tenant_id'' = tenant_id',
        'email_accounts(id) from payload->>''email_account_id'' within payload->>''tenant_id'' = tenant_id'
    ]),
    ('public.analytics_jobs', 'payload', ARRAY[
        'tenants(id) from payload->>''tenant_id''',
        'campaigns(id) from payload->>''campaign_id'' within payload->>''tenant_id'' = tenant_id'
    ])
) AS documented (relation, column_name, lines);
