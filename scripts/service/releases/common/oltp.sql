-- Statements on oltp that both releases share: no shape changes there.

-- name: act_for_tenant
SELECT set_config('app.current_tenant_id', %(tenant_id)s, true);

-- name: create_campaign
INSERT INTO campaigns (id, tenant_id, company_id, name, description, status)
VALUES (%(id)s::uuid, %(tenant_id)s::uuid, %(company_id)s::uuid, %(name)s, %(description)s, %(status)s);

-- name: create_leads
INSERT INTO leads (id, tenant_id, email, name, company)
SELECT l.id, %(tenant_id)s::uuid, l.email, l.name, l.company
FROM jsonb_to_recordset(%(leads)s) AS l (id uuid, email text, name text, company text)
ORDER BY l.email;

-- name: missing_references
-- Row security hides email_accounts from the application (it is enabled there without a policy), so only what can be seen is asked for.
SELECT r.column_name
FROM (VALUES ('campaign_id', %(campaign_id)s::uuid), ('lead_id', %(lead_id)s::uuid)) AS r (column_name, id)
WHERE r.id IS NOT NULL
  AND NOT EXISTS (SELECT FROM campaigns AS c WHERE r.column_name = 'campaign_id' AND c.id = r.id)
  AND NOT EXISTS (SELECT FROM leads AS l WHERE r.column_name = 'lead_id' AND l.id = r.id);
