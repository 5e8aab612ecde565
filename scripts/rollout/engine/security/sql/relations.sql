-- Every relation of this database that is neither Postgres' own nor the ledger's, with what row security looks at. The caller
-- sets search_path to pg_catalog, so that every expression names schemas.
SELECT
    n.nspname AS schema, c.relname AS name, c.relkind AS kind, format('%I.%I', n.nspname, c.relname) AS relation,
    pg_get_userbyid(c.relowner) AS owner, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
    coalesce(c.reloptions, '{}') AS options, c.relispartition AS is_partition, obj_description(c.oid, 'pg_class') AS comment,
    root.schema AS root_schema, root.name AS root_name,
    (
        SELECT e.extname FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
    ) AS extension,
    coalesce((
        SELECT jsonb_object_agg(a.attname, format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid), NULL) ORDER BY a.attnum)
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '{}') AS columns,
    coalesce((
        SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '[]') AS column_order,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd,
            'roles', (
                SELECT jsonb_agg(CASE r.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(r.oid) END ORDER BY r.oid)
                FROM unnest(p.polroles) AS r (oid)
            ),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
            'comment', obj_description(p.oid, 'pg_policy')
        ) ORDER BY p.polname) FROM pg_policy AS p WHERE p.polrelid = c.oid
    ), '[]') AS policies,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'grantee', CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END,
            'privilege', g.privilege_type, 'grantable', g.is_grantable
        ) ORDER BY g.grantee, g.privilege_type) FROM aclexplode(c.relacl) AS g WHERE g.grantee <> c.relowner
    ), '[]') AS grants,
    coalesce((
        SELECT jsonb_agg(DISTINCT a.attname) FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] > 0
    ), '[]') AS indexed,
    EXISTS (
        SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND g.tgname = 'row_security_place' AND g.tgenabled = 'A'
            AND g.tgfoid = to_regprocedure('rollout.keep_place()')
    ) AS guarded,
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END AS definition
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT rn.nspname AS schema, r.relname AS name FROM pg_class AS r JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
    WHERE c.relispartition AND r.oid = pg_partition_root(c.oid)
) AS root ON true
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'rollout')
ORDER BY n.nspname, c.relname
