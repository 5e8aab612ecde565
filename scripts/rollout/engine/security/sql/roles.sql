-- What of each role counts here: %(roles)s are the product's, in their order.
SELECT
    w.name, r.rolname IS NOT NULL AS there, coalesce(r.rolcanlogin, false) AS login,
    coalesce(r.rolsuper, false) AS super, coalesce(r.rolbypassrls, false) AS bypass,
    -- Whom it can become: what they may, it may.
    coalesce((
        SELECT jsonb_agg(o.rolname ORDER BY o.rolname) FROM pg_roles AS o
        WHERE r.rolname IS NOT NULL AND o.oid <> r.oid AND (o.rolsuper OR o.rolbypassrls) AND NOT r.rolsuper
            AND pg_has_role(r.oid, o.oid, 'MEMBER')
    ), '[]') AS becomes,
    coalesce((
        SELECT jsonb_agg(DISTINCT pg_get_userbyid(c.relowner)) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE r.rolname IS NOT NULL AND NOT r.rolsuper AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
            AND n.nspname NOT IN ('information_schema', 'rollout') AND pg_has_role(r.oid, c.relowner, 'MEMBER')
    ), '[]') AS owns
FROM unnest(%(roles)s::text[]) WITH ORDINALITY AS w (name, number)
LEFT JOIN pg_roles AS r ON r.rolname = w.name
ORDER BY w.number
