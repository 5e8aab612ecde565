-- Of a sample of pages, so that a large table is not read whole.
SELECT
    (100.0 * (1 - sum(c.compressed)::numeric / nullif(sum(c.raw), 0)))::float8 AS value,
    format('%%s of %%s bytes, in a sample of %%s contents', sum(c.compressed), sum(c.raw), count(*)) AS detail
FROM (
    SELECT e.raw_size_bytes AS raw, e.compressed_size_bytes AS compressed
    FROM email_content AS e TABLESAMPLE SYSTEM ((
        SELECT least(100, 100.0 * %(sampled_pages)s / greatest(relpages, 1)) FROM pg_class WHERE oid = 'email_content'::regclass
    ))
    UNION ALL
    SELECT o.raw_size_bytes, o.compressed_size_bytes
    FROM content_objects AS o TABLESAMPLE SYSTEM ((
        SELECT least(100, 100.0 * %(sampled_pages)s / greatest(relpages, 1)) FROM pg_class WHERE oid = 'content_objects'::regclass
    ))
) AS c WHERE c.raw > 0 AND c.compressed IS NOT NULL;
