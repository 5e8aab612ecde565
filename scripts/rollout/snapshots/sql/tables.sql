-- Tables whose rows are counted and hashed, each for itself (partitions by their leaves). Extension members and
-- temporary tables are left out, as pg_dump leaves them out; the flag says that row security would hide rows from us.
SELECT
    n.nspname AS schema,
    c.relname AS name,
    c.relforcerowsecurity AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
        AND NOT (SELECT r.rolsuper OR r.rolbypassrls FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) AS hidden
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS x
      WHERE x.classid = 'pg_catalog.pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')
ORDER BY c.relpages DESC, n.nspname, c.relname;
