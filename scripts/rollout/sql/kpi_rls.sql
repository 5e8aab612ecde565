-- Tables (not partitions) that hold a tenant's rows, and how many of them have row security that isolates: it is on, there is
-- a policy, and no permissive policy lets every row through (permissive policies are ORed, so one `true` undoes the rest).
SELECT count(*) AS tables,
       count(*) FILTER (WHERE isolates) AS covered,
       coalesce(array_agg(name ORDER BY name) FILTER (WHERE NOT isolates), '{}') AS uncovered
FROM (
    SELECT c.oid::regclass::text AS name,
           c.relrowsecurity
           AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
           AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive
                           AND pg_get_expr(p.polqual, p.polrelid) = 'true') AS isolates
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ('public', 'v2')
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
) AS tenants_tables;
