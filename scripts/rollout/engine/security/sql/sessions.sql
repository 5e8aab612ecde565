-- Sessions of the product's roles in this database that are of no release that sets the tenant.
SELECT a.pid, a.usename AS role, coalesce(a.application_name, '') AS application, coalesce(host(a.client_addr), 'local') AS address
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usename = ANY (%(roles)s::text[])
    AND a.pid <> pg_backend_pid() AND a.leader_pid IS NULL
    AND NOT (coalesce(a.application_name, '') LIKE ANY (%(applications)s::text[]))
ORDER BY a.backend_start, a.pid
