-- Statements on oltp that both releases share: no shape changes there.

-- name: act
-- Run on every tier, first in each transaction that serves a request: for row security (the tenant) and the audit trail.
SELECT set_config('app.current_tenant_id', %(tenant_id)s, true), set_config('app.current_user_id', %(user_id)s, true),
       set_config('app.session_id', %(session_id)s, true), set_config('app.ip_address', %(ip_address)s, true),
       set_config('app.user_agent', %(user_agent)s, true);

-- name: create_campaign
INSERT INTO campaigns (id, tenant_id, company_id, name, description, status)
VALUES (%(id)s::uuid, %(tenant_id)s::uuid, %(company_id)s::uuid, %(name)s, %(description)s, %(status)s);

-- name: create_leads
INSERT INTO leads (id, tenant_id, email, name, company)
SELECT l.id, %(tenant_id)s::uuid, l.email, l.name, l.company
FROM jsonb_to_recordset(%(leads)s) AS l (id uuid, email text, name text, company text)
ORDER BY l.email;
