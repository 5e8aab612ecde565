-- What would no longer fit a table whose name becomes a view's: users of its row type, and publications of its schema.
SELECT pg_describe_object(e.classid, e.objid, e.objsubid) || ' uses its row type' AS what
FROM pg_type AS t
JOIN pg_depend AS e ON e.refclassid = 'pg_type'::regclass AND e.refobjid IN (t.oid, t.typarray) AND e.deptype = 'n'
WHERE t.typrelid = to_regclass(%(relation)s)
UNION
SELECT format('publication %%I is FOR TABLES IN SCHEMA %%I, which it leaves', p.pubname, n.nspname)
FROM pg_publication_namespace AS s
JOIN pg_publication AS p ON p.oid = s.pnpubid
JOIN pg_namespace AS n ON n.oid = s.pnnspid
JOIN pg_class AS c ON c.relnamespace = n.oid
WHERE c.oid = to_regclass(%(relation)s)
ORDER BY 1;
