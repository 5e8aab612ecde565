-- What should not be: of the roles that may log in and are used here (the superuser that made the cluster, and ours, aside), rights beyond
-- the product's; and what anybody may do in this database.
WITH logins AS (
    SELECT r.* FROM pg_roles AS r
    WHERE r.rolcanlogin AND r.oid <> 10 AND r.rolname <> current_user
)
SELECT format('role %%s is superuser', rolname) AS finding FROM logins WHERE rolsuper
UNION ALL
SELECT format('role %%s may make roles', rolname) FROM logins WHERE rolcreaterole
UNION ALL
SELECT format('role %%s replicates', rolname) FROM logins WHERE rolreplication AND rolname = %(app)s
UNION ALL
SELECT format('role %%s bypasses row security and may write', rolname) FROM logins
WHERE rolbypassrls AND (rolname = %(app)s OR EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'v1', 'v2')
      AND has_table_privilege(logins.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')))
UNION ALL
SELECT format('role %%s owns tables', l.rolname) FROM logins AS l
WHERE l.rolname = %(app)s AND EXISTS (SELECT FROM pg_class AS c WHERE c.relowner = l.oid AND c.relkind IN ('r', 'p', 'v', 'm'))
UNION ALL
SELECT format('role %%s is a member of %%s', l.rolname, g.rolname)
FROM logins AS l
JOIN pg_auth_members AS m ON m.member = l.oid
JOIN pg_roles AS g ON g.oid = m.roleid
WHERE l.rolname = %(app)s AND (g.rolsuper OR g.rolbypassrls OR g.rolname IN (
    'pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))
UNION ALL
SELECT format('anybody may create in schema %%s', n.nspname) FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' AND n.nspname !~ '^pg_'
UNION ALL
SELECT format('anybody has %%s on %%s', string_agg(DISTINCT a.privilege_type, ', '), c.oid::regclass)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
WHERE a.grantee = 0 AND n.nspname IN ('public', 'v1', 'v2', 'rollout') AND c.relkind IN ('r', 'p', 'v', 'm')
  -- What belongs to an extension is the extension's to grant.
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
GROUP BY c.oid;
