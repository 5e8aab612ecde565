-- Functions that run with the rights of an owner whom row security does not bind, and that one of %(roles)s may call by name.
-- A trigger's function cannot be called; it sees the row that its statement was allowed.
SELECT
    format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
    format('%%I.%%I(%%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) AS function,
    (
        SELECT array_agg(w.name ORDER BY w.name) FROM pg_roles AS r JOIN unnest(%(roles)s::text[]) AS w (name) ON w.name = r.rolname
        WHERE has_function_privilege(r.oid, p.oid, 'EXECUTE') AND has_schema_privilege(r.oid, n.oid, 'USAGE')
    ) AS callers
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    AND EXISTS (
        SELECT FROM pg_roles AS r WHERE r.rolname = ANY (%(roles)s::text[])
            AND has_function_privilege(r.oid, p.oid, 'EXECUTE') AND has_schema_privilege(r.oid, n.oid, 'USAGE')
    )
ORDER BY 1
