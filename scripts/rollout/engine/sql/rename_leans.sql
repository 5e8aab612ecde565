-- What stands on views that are to go: of each view, by name, what would go with it.
WITH going AS MATERIALIZED (
    SELECT v.name, c.oid, c.reltype
    FROM unnest(%(views)s::text[]) AS v (name)
    JOIN pg_class AS c ON c.oid = to_regclass(v.name)
),
targets AS MATERIALIZED (
    SELECT name, oid AS view, 'pg_class'::regclass AS class, oid FROM going
    UNION ALL
    SELECT g.name, g.oid, 'pg_type'::regclass, u.oid
    FROM going AS g
    JOIN pg_type AS t ON t.oid = g.reltype
    CROSS JOIN LATERAL unnest(ARRAY[t.oid, t.typarray]) AS u (oid)
),
leaning AS MATERIALIZED (
    SELECT t.name, t.view, e.classid, e.objid, e.objsubid, r.ev_class
    FROM targets AS t
    JOIN pg_depend AS e ON e.refclassid = t.class AND e.refobjid = t.oid AND e.deptype = 'n'
    LEFT JOIN pg_rewrite AS r ON e.classid = 'pg_rewrite'::regclass AND r.oid = e.objid
)
SELECT name, array_agg(DISTINCT coalesce(ev_class::regclass::text, pg_describe_object(classid, objid, objsubid))) AS leans
FROM leaning
WHERE ev_class IS DISTINCT FROM view
GROUP BY name
ORDER BY name;
