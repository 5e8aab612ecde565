SELECT
    (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::int / 10000 AS server_major,
    (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
          ELSE pg_catalog.pg_current_wal_lsn() END)::text AS lsn,
    pg_catalog.pg_database_size(d.oid) AS database_bytes,
    pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
    d.datlocprovider::text AS locale_provider,
    d.datcollate AS collate,
    d.datctype AS ctype,
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
    (SELECT jsonb_agg(jsonb_build_array(
                CASE a.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                a.privilege_type, a.is_grantable) ORDER BY 1)
     FROM pg_catalog.aclexplode(d.datacl) AS a) AS grants,
    coalesce((SELECT to_jsonb(s.setconfig) FROM pg_catalog.pg_db_role_setting AS s
              WHERE s.setdatabase = d.oid AND s.setrole = 0), '[]'::jsonb) AS settings
FROM pg_catalog.pg_database AS d
WHERE d.datname = current_database();
