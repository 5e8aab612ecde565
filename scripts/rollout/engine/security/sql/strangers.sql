-- Roles that row security does not bind, are not superusers and not declared, and have a privilege on a relation: who and on what.
SELECT r.rolname AS role, format('%%I.%%I', n.nspname, c.relname) AS relation
FROM pg_roles AS r
CROSS JOIN pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.rolbypassrls AND NOT r.rolsuper AND NOT r.rolname = ANY (%(known)s::text[]) AND r.oid <> c.relowner
    AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'rollout')
    AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AND has_schema_privilege(r.oid, n.oid, 'USAGE')
