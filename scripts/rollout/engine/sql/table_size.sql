-- How large a table is as a whole, partitions included: rows by its statistics (null: it has none), and pages as they are now.
SELECT
    CASE WHEN bool_and(c.reltuples >= 0 AND (c.relpages > 0 OR c.pages = 0))
        THEN sum(CASE WHEN c.relpages > 0 THEN c.reltuples / c.relpages * c.pages ELSE 0 END)::bigint
    END AS rows,
    sum(c.pages)::bigint AS pages
FROM (
    SELECT
        reltuples, relpages,
        pg_catalog.pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
    FROM pg_catalog.pg_class
    WHERE
        relkind = 'r'
        AND (oid = %(relation)s::regclass OR oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%(relation)s::regclass)))
) AS c;
