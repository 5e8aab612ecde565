-- Sessions of clients that may use the old names. Of the application's roles: all but those of the new release. Of others:
-- those that may touch a relation that contract replaces; a superuser, the runner and monitoring that may not are no clients.
SELECT a.usename AS role, a.application_name AS name, count(*) AS sessions
FROM pg_stat_activity a
JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.backend_type = 'client backend'
  AND a.usename <> current_user AND NOT r.rolsuper
  AND CASE WHEN a.usename = ANY (%(app_roles)s) THEN a.application_name <> ALL (%(names)s)
           ELSE EXISTS (
               SELECT FROM unnest(%(relations)s::text[]) AS known(name)
               WHERE has_any_column_privilege(r.oid, to_regclass(known.name), 'SELECT, INSERT, UPDATE')
                  OR has_table_privilege(r.oid, to_regclass(known.name), 'DELETE'))
      END
GROUP BY 1, 2 ORDER BY 1, 2;
