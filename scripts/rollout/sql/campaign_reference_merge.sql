-- The copy becomes what oltp has: new and changed campaigns in, gone ones out.
WITH gone AS (
    DELETE FROM {reference} AS r
    WHERE NOT EXISTS (SELECT FROM campaigns_incoming AS i WHERE i.campaign_id = r.campaign_id)
)

INSERT INTO {reference} AS r (campaign_id, tenant_id, company_id, name, status, copied_at)
SELECT campaign_id, tenant_id, company_id, name, status, %(copied_at)s
FROM campaigns_incoming
ON CONFLICT (campaign_id) DO UPDATE SET
    tenant_id = excluded.tenant_id, company_id = excluded.company_id, name = excluded.name, status = excluded.status,
    copied_at = excluded.copied_at
WHERE (r.tenant_id, r.company_id, r.name, r.status)
    IS DISTINCT FROM (excluded.tenant_id, excluded.company_id, excluded.name, excluded.status);
