-- Of a sample, so that a large table is not read whole. Not TABLESAMPLE: between 008's swap and its contract these names are views.
SELECT
    (100.0 * (1 - sum(c.compressed)::numeric / nullif(sum(c.raw), 0)))::float8 AS value,
    format('%%s of %%s bytes, in a sample of %%s contents', sum(c.compressed), sum(c.raw), count(*)) AS detail
FROM (
    (SELECT e.raw_size_bytes AS raw, e.compressed_size_bytes AS compressed FROM email_content AS e LIMIT %(sampled_rows)s)
    UNION ALL
    (SELECT o.raw_size_bytes, o.compressed_size_bytes FROM content_objects AS o LIMIT %(sampled_rows)s)
) AS c WHERE c.raw > 0 AND c.compressed IS NOT NULL;
