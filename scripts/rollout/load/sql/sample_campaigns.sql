WITH found AS (
    (SELECT tenant_id, company_id, id FROM public.campaigns WHERE id >= gen_random_uuid() ORDER BY id LIMIT 200)
    UNION
    (SELECT tenant_id, company_id, id FROM public.campaigns ORDER BY id LIMIT 50)
)
SELECT f.tenant_id::text, f.company_id::text, f.id::text, l.id::text
FROM found AS f
LEFT JOIN LATERAL (SELECT id FROM public.leads WHERE tenant_id = f.tenant_id LIMIT 1) AS l ON true
WHERE f.company_id IS NOT NULL
