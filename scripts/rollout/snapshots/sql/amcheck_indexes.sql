SELECT c.oid::regclass::text
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid
    AND c.relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace)
ORDER BY c.relpages DESC
