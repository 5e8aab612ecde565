-- One relation, whole, as a JSON document: what a successor has to carry and what stands on it. Postgres 15 to 18. The caller
-- sets search_path to pg_catalog, so that every definition names schemas.
SELECT jsonb_build_object(
    'schema', n.nspname,
    'name', c.relname,
    'relation', c.oid::regclass::text,
    'kind', c.relkind,
    'persistence', c.relpersistence,
    'access_method', (SELECT amname FROM pg_am WHERE oid = c.relam),
    'owner', pg_get_userbyid(c.relowner),
    'options', to_jsonb(coalesce(c.reloptions, '{}') || coalesce((
        SELECT array_agg('toast.' || o) FROM pg_class AS t, unnest(t.reloptions) AS o WHERE t.oid = c.reltoastrelid
    ), '{}')),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace),
    'comment', obj_description(c.oid, 'pg_class'),
    'row_security', c.relrowsecurity,
    'force_row_security', c.relforcerowsecurity,
    'replica_identity', c.relreplident,
    'replica_identity_index', (
        SELECT x.relname FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident
    ),
    'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
    'is_partition', c.relispartition,
    'inherits', EXISTS (SELECT FROM pg_inherits WHERE (inhrelid = c.oid OR inhparent = c.oid) AND c.relkind <> 'p'),
    'rows', greatest(c.reltuples, 0)::bigint,
    'partitions', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'schema', pn.nspname, 'name', p.relname, 'parent', parent.relname, 'bound', pg_get_expr(p.relpartbound, p.oid),
            'partition_key', CASE WHEN p.relkind = 'p' THEN pg_get_partkeydef(p.oid) END, 'replica_identity', p.relreplident,
            'options', to_jsonb(p.reloptions), 'comment', obj_description(p.oid, 'pg_class'),
            'bounds', pg_get_partition_constraintdef(p.oid), 'columns', (
                SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped
            ),
            'own', coalesce((
                SELECT jsonb_agg(own.what ORDER BY own.what)
                FROM (
                    SELECT format('schema %s', pn.nspname) AS what WHERE p.relnamespace <> c.relnamespace
                    UNION ALL SELECT 'row security' WHERE p.relrowsecurity
                    UNION ALL SELECT 'tablespace' WHERE p.reltablespace <> c.reltablespace
                    UNION ALL SELECT 'storage parameters of its TOAST table'
                        FROM pg_class AS toast WHERE toast.oid = p.reltoastrelid AND toast.reloptions IS NOT NULL
                    UNION ALL SELECT format('index %s', x.relname)
                        FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid WHERE i.indrelid = p.oid AND NOT x.relispartition
                    UNION ALL SELECT format('constraint %s', k.conname)
                        FROM pg_constraint AS k WHERE k.conrelid = p.oid AND k.contype IN ('c', 'f') AND k.conparentid = 0 AND k.coninhcount = 0
                    UNION ALL SELECT format('foreign key %s of %s', k.conname, k.conrelid::regclass)
                        FROM pg_constraint AS k WHERE k.contype = 'f' AND k.confrelid = p.oid AND k.conparentid = 0
                    UNION ALL SELECT format('trigger %s', t.tgname) FROM pg_trigger AS t
                        WHERE t.tgrelid = p.oid AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgname !~ '^(0_|zz_)?rollout_'
                    UNION ALL SELECT format('policy %s', o.polname) FROM pg_policy AS o WHERE o.polrelid = p.oid
                    UNION ALL SELECT format('statistics %s', s.stxname) FROM pg_statistic_ext AS s WHERE s.stxrelid = p.oid
                    UNION ALL SELECT format('publication %s', b.pubname)
                        FROM pg_publication_rel AS r JOIN pg_publication AS b ON b.oid = r.prpubid WHERE r.prrelid = p.oid
                    UNION ALL SELECT DISTINCT format('view %s', r.ev_class::regclass) FROM pg_depend AS e JOIN pg_rewrite AS r ON r.oid = e.objid
                        WHERE e.classid = 'pg_rewrite'::regclass AND e.refclassid = 'pg_class'::regclass AND e.refobjid = p.oid
                    UNION ALL SELECT DISTINCT format('function %s', e.objid::regprocedure) FROM pg_depend AS e
                        WHERE e.classid = 'pg_proc'::regclass AND e.deptype = 'n' AND (
                            (e.refclassid = 'pg_class'::regclass AND e.refobjid = p.oid) OR (e.refclassid = 'pg_type'::regclass AND e.refobjid = p.reltype)
                        )
                    UNION ALL SELECT format('default of column %s', a.attname) FROM pg_attribute AS a
                        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                        JOIN pg_attribute AS ra ON ra.attrelid = c.oid AND ra.attname = a.attname
                        LEFT JOIN pg_attrdef AS rd ON rd.adrelid = ra.attrelid AND rd.adnum = ra.attnum
                        WHERE a.attrelid = p.oid AND a.attnum > 0 AND a.attgenerated = ''
                            AND pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM pg_get_expr(rd.adbin, rd.adrelid)
                ) AS own
            ), '[]'),
            'grants', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'grantee', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                    'privilege', g.privilege_type, 'grantable', g.is_grantable
                ) ORDER BY g.grantee, g.privilege_type) FROM aclexplode(p.relacl) AS g WHERE g.grantee <> p.relowner
            ), '[]')
        ) ORDER BY t.level, p.relname)
        FROM pg_partition_tree(c.oid) AS t JOIN pg_class AS p ON p.oid = t.relid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
        JOIN pg_class AS parent ON parent.oid = t.parentrelid WHERE t.level > 0
    ), '[]'),
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', a.attname, 'number', a.attnum, 'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
            'storage', a.attstorage, 'compression', a.attcompression,
            'statistics', nullif(a.attstattarget, -1), -- Only what ALTER TABLE can set: some builds keep marks of their own here.
            'options', (SELECT jsonb_agg(o ORDER BY o) FROM unnest(a.attoptions) AS o WHERE o ~ '^n_distinct(_inherited)?='),
            'collation', CASE WHEN a.attcollation <> ty.typcollation THEN a.attcollation::regcollation::text END,
            'comment', col_description(c.oid, a.attnum), 'acl', a.attacl::text[],
            'sequence', pg_get_serial_sequence(c.oid::regclass::text, a.attname),
            'send', coalesce(base.typsend, ty.typsend)::regproc::text,
            'sequence_grants', (
                SELECT jsonb_agg(jsonb_build_object(
                    'grantee', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                    'privilege', g.privilege_type, 'grantable', g.is_grantable
                ) ORDER BY g.grantee, g.privilege_type) FROM pg_class AS q, aclexplode(q.relacl) AS g
                WHERE q.oid = pg_get_serial_sequence(c.oid::regclass::text, a.attname)::regclass AND g.grantee <> q.relowner
            ),
            -- What = calls equal is equal bit for bit: only then is a hash of the value a proof of the value. (jsonb's = is all but
            -- that, 1.0 and 1.00 in it are one number; its bytes would double the price of a comparison.)
            'exact', (coalesce(base.typname, ty.typname) IN (
                'int2', 'int4', 'int8', 'bool', 'uuid', 'date', 'timestamp', 'timestamptz', 'bytea', 'inet', 'cidr', 'macaddr', 'oid', 'jsonb'
            ) OR (coalesce(base.typname, ty.typname) IN ('text', 'varchar') AND (
                SELECT co.collisdeterministic FROM pg_collation AS co WHERE co.oid = a.attcollation
            )) OR coalesce(base.typtype, ty.typtype) = 'e')
        ) ORDER BY a.attnum)
        FROM pg_attribute AS a JOIN pg_type AS ty ON ty.oid = a.atttypid
        LEFT JOIN pg_type AS base ON base.oid = ty.typbasetype AND ty.typtype = 'd'
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '[]'),
    'constraints', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', k.conname, 'type', k.contype, 'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'deferrable', k.condeferrable, 'deferred', k.condeferred, 'comment', obj_description(k.oid, 'pg_constraint'),
            'inherited', k.conparentid <> 0 OR k.coninhcount > 0, 'index', x.relname,
            'columns', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY AS u (number, n)
                JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number),
            'references', CASE WHEN k.contype = 'f' THEN k.confrelid::regclass::text END,
            'references_self', k.confrelid = c.oid,
            'referenced', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY AS u (number, n)
                JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number)
        ) ORDER BY k.contype <> 'p', k.conname)
        FROM pg_constraint AS k LEFT JOIN pg_class AS x ON x.oid = k.conindid AND k.contype IN ('p', 'u', 'x')
        WHERE k.conrelid = c.oid AND k.contype IN ('c', 'p', 'u', 'x', 'f') AND k.conparentid = 0
    ), '[]'),
    'indexes', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', x.relname, 'definition', pg_get_indexdef(i.indexrelid), 'unique', i.indisunique, 'primary', i.indisprimary,
            'valid', i.indisvalid, 'immediate', i.indimmediate, 'clustered', i.indisclustered, 'replica', i.indisreplident,
            'plain', i.indpred IS NULL AND i.indexprs IS NULL, 'gist', am.amname = 'gist', 'options', to_jsonb(x.reloptions),
            'constraint', (SELECT k.conname FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')),
            'columns', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, n)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.number WHERE u.n <= i.indnkeyatts),
            'comment', obj_description(i.indexrelid, 'pg_class'),
            'statistics', (SELECT jsonb_agg(jsonb_build_array(a.attnum, a.attstattarget)) FROM pg_attribute AS a
                WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0)
        ) ORDER BY x.relname)
        FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS am ON am.oid = x.relam WHERE i.indrelid = c.oid
    ), '[]'),
    'triggers', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled,
            'function', t.tgfoid::regprocedure::text, 'source', (SELECT prosrc FROM pg_proc WHERE oid = t.tgfoid),
            'comment', obj_description(t.oid, 'pg_trigger')
        ) ORDER BY t.tgname)
        FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgname !~ '^(0_|zz_)?rollout_' AND t.tgparentid = 0
    ), '[]'),
    'policies', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
            'roles', (SELECT jsonb_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END ORDER BY r) FROM unnest(p.polroles) AS r),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
            'comment', obj_description(p.oid, 'pg_policy')
        ) ORDER BY p.polname) FROM pg_policy AS p WHERE p.polrelid = c.oid
    ), '[]'),
    'statistics', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'schema', sn.nspname, 'name', s.stxname, 'definition', pg_get_statisticsobjdef(s.oid),
            'target', nullif(s.stxstattarget, -1), 'comment', obj_description(s.oid, 'pg_statistic_ext')
        ) ORDER BY s.stxname) FROM pg_statistic_ext AS s JOIN pg_namespace AS sn ON sn.oid = s.stxnamespace WHERE s.stxrelid = c.oid
    ), '[]'),
    'publications', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'name', p.pubname, 'where', pg_get_expr(r.prqual, r.prrelid), 'owned', pg_has_role(p.pubowner, 'MEMBER'),
            'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
                WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[]))
        ) ORDER BY p.pubname) FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid WHERE r.prrelid = c.oid
    ), '[]'),
    'acl', to_jsonb(c.relacl::text[]),
    'grants', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'grantee', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
            'privilege', g.privilege_type, 'grantable', g.is_grantable, 'column', g.attname
        ) ORDER BY g.attname, g.grantee, g.privilege_type)
        FROM (
            SELECT x.grantee, x.privilege_type, x.is_grantable, NULL::name AS attname FROM aclexplode(c.relacl) AS x
            UNION ALL
            SELECT x.grantee, x.privilege_type, x.is_grantable, a.attname
            FROM pg_attribute AS a, aclexplode(a.attacl) AS x WHERE a.attrelid = c.oid AND NOT a.attisdropped
        ) AS g WHERE g.grantee <> c.relowner
    ), '[]'),
    'rules', coalesce((SELECT jsonb_agg(r.rulename ORDER BY r.rulename) FROM pg_rewrite AS r WHERE r.ev_class = c.oid), '[]'),
    'referenced_by', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'table', k.conrelid::regclass::text, 'schema', kn.nspname, 'relation', kr.relname, 'name', k.conname,
            'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'comment', obj_description(k.oid, 'pg_constraint'), 'kind', kr.relkind,
            'columns', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY AS u (number, n)
                JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number),
            'referenced', (SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY AS u (number, n)
                JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number)
        ) ORDER BY k.conrelid::regclass::text, k.conname)
        FROM pg_constraint AS k JOIN pg_class AS kr ON kr.oid = k.conrelid JOIN pg_namespace AS kn ON kn.oid = kr.relnamespace
        WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid <> c.oid AND k.conparentid = 0
    ), '[]'),
    'dependents', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'kind', CASE WHEN x.relkind = 'm' THEN 'materialised view' WHEN r.rulename <> '_RETURN' THEN 'rule' ELSE 'view' END,
            'name', format('%I.%I', xn.nspname, x.relname), 'definition', pg_get_viewdef(x.oid), 'rule', r.rulename,
            'options', array_to_string(x.reloptions, ', '), 'owner', pg_get_userbyid(x.relowner),
            'updatable', pg_relation_is_updatable(x.oid, false) <> 0,
            'definer', NOT coalesce(x.reloptions::text ~ 'security_invoker=(true|on|1|yes)', false), 'columns', (
                SELECT jsonb_agg(DISTINCT a.attname) FROM pg_depend AS e JOIN pg_attribute AS a
                    ON a.attrelid = c.oid AND a.attnum = e.refobjsubid AND a.attnum > 0
                WHERE e.classid = 'pg_rewrite'::regclass AND e.objid = r.oid AND e.refclassid = 'pg_class'::regclass AND e.refobjid = c.oid
            )
        ) ORDER BY xn.nspname, x.relname, r.rulename)
        FROM (
            -- A view depends on each column apart, and its definition is as long as they are many.
            SELECT DISTINCT e.objid FROM pg_depend AS e
            WHERE e.classid = 'pg_rewrite'::regclass AND e.refclassid = 'pg_class'::regclass AND e.refobjid = c.oid
        ) AS e JOIN pg_rewrite AS r ON r.oid = e.objid JOIN pg_class AS x ON x.oid = r.ev_class
        JOIN pg_namespace AS xn ON xn.oid = x.relnamespace
        WHERE r.ev_class <> c.oid AND xn.nspname <> 'rollout'
    ), '[]'),
    'bound', to_jsonb(ARRAY(
        SELECT format('its type %s', c.reloftype::regtype) WHERE c.reloftype <> 0
        UNION ALL
        SELECT format('subscription %s', s.subname)
        FROM pg_subscription_rel AS r JOIN pg_subscription AS s ON s.oid = r.srsubid WHERE r.srrelid = c.oid
    )) || coalesce((
        SELECT jsonb_agg(pg_describe_object(e.classid, e.objid, e.objsubid) ORDER BY 1)
        FROM (
            SELECT DISTINCT e.classid, e.objid, e.objsubid FROM pg_depend AS e
            WHERE e.deptype = 'n' AND (
                (e.refclassid = 'pg_class'::regclass AND e.refobjid = c.oid AND (
                    e.classid = 'pg_proc'::regclass
                    OR (e.classid = 'pg_policy'::regclass AND e.objid NOT IN (SELECT oid FROM pg_policy WHERE polrelid = c.oid))
                ))
                OR (e.refclassid = 'pg_type'::regclass AND e.refobjid IN (
                    SELECT t.oid FROM pg_type AS t WHERE t.typrelid = c.oid
                    UNION ALL SELECT t.typarray FROM pg_type AS t WHERE t.typrelid = c.oid
                ) AND NOT (e.classid = 'pg_proc'::regclass AND EXISTS (
                    SELECT FROM pg_proc AS f WHERE f.oid = e.objid AND f.pronamespace = to_regnamespace('rollout')
                )))
            )
        ) AS e
    ), '[]')
) AS description
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v')
