-- A sample of the content's columns: their bytes as text and as stored (compressed in TOAST or not), 100,000 rows at most; and how many
-- bytes stand in rows of 2 kB or more, which alone Postgres compresses.
SELECT
    count(*) AS n, sum(t.raw + h.raw) AS raw, sum(t.stored + h.stored) AS stored,
    sum(t.raw + h.raw) FILTER (WHERE t.raw + h.raw >= 2000) AS raw_long,
    sum(t.stored + h.stored) FILTER (WHERE t.raw + h.raw >= 2000) AS stored_long
FROM (SELECT content_text, content_html FROM public.email_content LIMIT 100000) AS c
CROSS JOIN LATERAL (
    SELECT coalesce(octet_length(c.content_text), 0) AS raw, coalesce(pg_column_size(c.content_text), 0) AS stored
) AS t
CROSS JOIN LATERAL (
    SELECT coalesce(octet_length(c.content_html), 0) AS raw, coalesce(pg_column_size(c.content_html), 0) AS stored
) AS h;
