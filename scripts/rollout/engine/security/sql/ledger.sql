-- Relations of the ledger with rows or ids of tenants in them, and which of some roles may read one.
SELECT format('%%I.%%I', n.nspname, c.relname) AS relation, w.role
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN unnest(%(roles)s::text[]) AS w (role)
JOIN pg_roles AS r ON r.rolname = w.role
WHERE n.nspname = 'rollout' AND c.relkind IN ('r', 'p', 'v', 'm')
    AND EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN ('row', 'tenant_id', 'scope')
    )
    AND has_any_column_privilege(r.oid, c.oid, 'SELECT') AND has_schema_privilege(r.oid, n.oid, 'USAGE')
ORDER BY 1, 2
